"""Costs that are free: worked out from arch and shape, without running anything."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from space.arch import Arch
from space.cost import (
    AdditiveCost,
    ParamCost,
    TokenCost,
    activation_memory,
    mac_cost,
    macs,
    params,
    token_counts,
)
from space.shape import BackboneShape


@dataclass(frozen=True)
class FreeCost:
    """A cost that needs no evaluation.

    Args:
        name: as objectives and budgets call it.
        of: its value for an arch.
        additive: the same as a sum over blocks, where it is one.
        unit: how much of the sum makes one of the cost: milliseconds are summed in nanoseconds.
    """

    name: str
    of: Callable[[Arch, BackboneShape], float]
    additive: Callable[[BackboneShape], AdditiveCost] | None = None
    unit: int = 1

    def at(self, shape: BackboneShape) -> Callable[[Arch], float]:
        """The cost of archs of one backbone."""
        return partial(_value, self.of, shape)


def tokens(arch: Arch, shape: BackboneShape) -> int:
    """Patch tokens that each block works on, summed over the blocks.

    Raises:
        InputError: the arch does not fit the backbone or breaks a rule.
    """
    return sum(token_counts(arch, shape))


def _value(of: Callable[[Arch, BackboneShape], float], shape: BackboneShape, arch: Arch) -> float:
    return of(arch, shape)


FREE_COSTS = {
    cost.name: cost
    for cost in (
        FreeCost("macs", macs, mac_cost),
        FreeCost("params", params, ParamCost),
        FreeCost("tokens", tokens, TokenCost),
        FreeCost("activation_memory", activation_memory),
    )
}
