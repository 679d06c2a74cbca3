"""Gradients between the backward passes and the optimiser: norms, clipping, updated modules."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from supernet.models.elastic import ElasticViT


def clip_gradients(
    groups: Mapping[str, list[nn.Parameter]], most: float | None
) -> dict[str, float]:
    """Clip the gradients of each group of parameters by the group's norm.

    Args:
        groups: Parameters by group name.
        most: Greatest norm; None turns clipping off.

    Returns:
        The norm of each group that has gradients, before clipping.
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
    """Return the parameters of each auxiliary loss by its name, and all others under ""."""
    own = model.auxiliary_parameters()
    taken = {id(each) for group in own.values() for each in group}
    return {"": [each for each in model.parameters() if id(each) not in taken], **own}


def count_updates(modules: Mapping[str, nn.Module], counts: dict[str, int]) -> None:
    """Increment the count of each module that has a gradient."""
    for name, module in modules.items():
        used = any(parameter.grad is not None for parameter in module.parameters())
        counts[name] = counts.get(name, 0) + used
