"""Gradients between the backward passes and the optimiser: norms, clipping, who has any."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from supernet.models.elastic import ElasticViT


def clip_gradients(
    groups: Mapping[str, list[nn.Parameter]], most: float | None
) -> dict[str, float]:
    """Clip the gradient of each group of parameters by its norm.

    Args:
        groups: Parameters, by the name of their norm.
        most: Greatest norm; None clips nothing.

    Returns:
        The norms before clipping, of the groups that have gradients.
    """
    norms = {}
    for name, parameters in groups.items():
        gradients = [each.grad for each in parameters if each.grad is not None]
        if gradients:
            norm = get_total_norm(gradients)
            norms[name] = norm.item()
            if most is not None:
                clip_grads_with_norm_(parameters, most, norm)
    return norms


def split_parameters(model: ElasticViT) -> dict[str, list[nn.Parameter]]:
    """The parameters that each auxiliary loss trains, by its name; the rest under the name ""."""
    own = model.auxiliary_parameters()
    taken = {id(each) for group in own.values() for each in group}
    return {"": [each for each in model.parameters() if id(each) not in taken], **own}


def count_updates(modules: Mapping[str, nn.Module], counts: dict[str, int]) -> None:
    """Add 1 to the count of each module that has a gradient, by name."""
    for name, module in modules.items():
        used = any(parameter.grad is not None for parameter in module.parameters())
        counts[name] = counts.get(name, 0) + used
