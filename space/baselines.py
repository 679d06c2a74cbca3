"""Baselines for a search: families of hand-made archs, each fitted to a budget."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from space.arch import Arch
from space.cost import macs
from space.operators.base import Operator, Placement
from space.operators.registry import operators
from space.operators.walk import PLAIN

if TYPE_CHECKING:
    from space.space import SearchSpace


@dataclass(frozen=True, slots=True)
class Baseline:
    """The largest member, inside a budget, of a family of hand-made archs.

    Args:
        name: Name of the family.
        arch: The member with the most MACs inside the budget; None if there is none.
        floor: MACs of the family's smallest member in the space; None if there is none.
    """

    name: str
    arch: Arch | None
    floor: int | None


def baselines(space: SearchSpace, max_macs: float) -> list[Baseline]:
    """Find, for each family, the largest member in a space that has at most `max_macs` MACs."""
    # This order is that of reports, and of the first archs of a search, which must not change.
    fitted, kinds = [], ("subset", "reduce", "attention")
    for k, operator in sorted(enumerate(operators()), key=lambda pair: kinds.index(pair[1].kind)):
        ends = [state.counters[k] for state in space.graph.levels[-1]]
        families = operator.families(space.axes.get(operator.name), space.shape.depth, ends)
        for name, placements in families.items():
            archs = (_place(space, operator, placement) for placement in placements)
            fitted.append(_fit(name, archs, space, max_macs))
    return fitted


def _place(space: SearchSpace, operator: Operator[Any, Any], placement: Placement) -> Arch:
    """Build the arch with those choices of `placement` that the space lists."""
    axis, blocks = space.axes[operator.name], [PLAIN] * space.shape.depth
    for i, choice in placement.items():
        if i in axis.blocks and choice in axis.choices:
            blocks[i] = operator.put(PLAIN, choice)
    return Arch(tuple(blocks))


def _fit(name: str, archs: Iterable[Arch], space: SearchSpace, max_macs: float) -> Baseline:
    """Find the member of a family with the most MACs up to a maximum."""
    members = {space.canonical(arch) for arch in archs if arch in space}
    # What remains where the space lists none of a member's choices.
    members.discard(space.largest())
    costs = {arch: macs(arch, space.shape) for arch in members}
    affordable = [arch for arch in members if costs[arch] <= max_macs]
    # Ties by `repr`: the order of a set differs between processes.
    best = max(affordable, key=lambda arch: (costs[arch], repr(arch)), default=None)
    return Baseline(name, best, min(costs.values(), default=None))
