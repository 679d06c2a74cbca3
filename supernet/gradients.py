"""Gradients between the backward passes and the optimiser: norms, clipping, who has any."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from supernet.elastic import ElasticViT


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


def split_parameters(model: ElasticViT) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """The parameters of a network, and those of its selectors."""
    selectors = list(model.selectors.parameters())
    taken = {id(parameter) for parameter in selectors}
    return [each for each in model.parameters() if id(each) not in taken], selectors


def count_updates(modules: Mapping[str, nn.Module], counts: dict[str, int]) -> None:
    """Add 1 to the count of each module that has a gradient, by name."""
    for name, module in modules.items():
        used = any(parameter.grad is not None for parameter in module.parameters())
        counts[name] = counts.get(name, 0) + used
