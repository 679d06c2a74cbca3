"""Baselines for a search: families of hand-made archs, each fitted to a budget."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from space.arch import Arch
from space.cost import macs as macs_of
from space.operators.base import Operator, Placing
from space.operators.registry import operators
from space.operators.walk import PLAIN

if TYPE_CHECKING:
    from space.space import SearchSpace


@dataclass(frozen=True, slots=True)
class Baseline:
    """A family of hand-made archs, and its largest member inside the budget.

    Args:
        name: Name of the family.
        arch: The member with the most MACs inside the budget; None without one.
        floor: MACs of the family's smallest member in the space; None without members.
    """

    name: str
    arch: Arch | None
    floor: int | None


def baselines(space: SearchSpace, macs: float) -> list[Baseline]:
    """Fit every family, within the choices of `space`, to a budget of `macs`."""
    found, kinds = [], ("subset", "reduce", "attention")
    for k, operator in sorted(enumerate(operators()), key=lambda pair: kinds.index(pair[1].kind)):
        ends = [state.counters[k] for state in space.graph.levels[-1]]
        families = operator.families(space.axes.get(operator.name), space.shape.depth, ends)
        for name, placings in families.items():
            archs = (_place(space, operator, placing) for placing in placings)
            found.append(_fit(name, archs, space, macs))
    return found


def _place(space: SearchSpace, operator: Operator[Any, Any], placing: Placing) -> Arch:
    """Return the full arch with those choices of `placing` that the space lists."""
    axis, placed = space.axes[operator.name], [PLAIN] * space.shape.depth
    for i, choice in placing.items():
        if i in axis.blocks and choice in axis.choices:
            placed[i] = operator.put(PLAIN, choice)
    return Arch(tuple(placed))


def _fit(name: str, archs: Iterable[Arch], space: SearchSpace, budget: float) -> Baseline:
    members = {space.canonical(arch) for arch in archs if arch in space}
    members.discard(space.largest())
    costs = {arch: macs_of(arch, space.shape) for arch in members}
    inside = [arch for arch in members if costs[arch] <= budget]
    best = max(inside, key=lambda arch: (costs[arch], repr(arch)), default=None)
    return Baseline(name, best, min(costs.values(), default=None))
