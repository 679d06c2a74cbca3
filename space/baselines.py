"""Baselines for a search: families of hand-made archs, each fitted to a budget."""

from __future__ import annotations

from collections.abc import Iterator
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
    return [_fit(name, archs, space, macs) for name, archs in _families(space)]


def _families(space: SearchSpace) -> Iterator[tuple[str, Iterator[Arch]]]:
    for kind in ("subset", "reduce", "attention"):
        for k, operator in enumerate(operators()):
            if operator.kind == kind:
                axis = space.axes.get(operator.name)
                ends = [state.own[k] for state in space.graph.levels[-1]]
                found = operator.families(axis, space.shape.depth, ends)
                for name, placings in found.items():
                    yield name, (_place(space, operator, blocks) for blocks in placings)


def _place(space: SearchSpace, operator: Operator[Any, Any], blocks: Placing) -> Arch:
    """Return the full arch with those choices of `blocks` that the space lists."""
    axis, placed = space.axes[operator.name], [PLAIN] * space.shape.depth
    for i, choice in blocks.items():
        if i in axis.blocks and choice in axis.choices:
            placed[i] = operator.put(PLAIN, choice)
    return Arch(tuple(placed))


def _fit(name: str, archs: Iterator[Arch], space: SearchSpace, budget: float) -> Baseline:
    members = {space.canonical(arch) for arch in archs if arch in space}
    members.discard(space.largest())
    costs = {arch: macs_of(arch, space.shape) for arch in members}
    inside = [arch for arch in members if costs[arch] <= budget]
    best = max(inside, key=lambda arch: (costs[arch], repr(arch)), default=None)
    return Baseline(name, best, min(costs.values(), default=None))
