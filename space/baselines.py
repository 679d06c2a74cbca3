"""Archs that people build by hand, each family fitted to a budget: what a search must beat."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING

from space.arch import Arch, BlockArch, Pool
from space.cost import macs as macs_of

if TYPE_CHECKING:
    from space.space import SearchSpace


@dataclass(frozen=True, slots=True)
class Baseline:
    """A family of hand-made archs, and its largest member inside the budget.

    Args:
        name: the family.
        arch: the member with the most MACs that are inside the budget; None if there is none.
        floor: MACs of the family's smallest member in the space; None if it has no member there.
    """

    name: str
    arch: Arch | None
    floor: int | None


def baselines(space: SearchSpace, macs: float) -> list[Baseline]:
    """Fit every family, within the choices of `space`, to a budget of `macs`."""
    return [_fit(name, family, space, macs) for name, family in FAMILIES.items()]


def _fit(name: str, family: Family, space: SearchSpace, budget: float) -> Baseline:
    members = {space.canonical(arch) for arch in family(space) if arch in space}
    members.discard(space.largest())
    costs = {arch: macs_of(arch, space.shape) for arch in members}
    inside = [arch for arch in members if costs[arch] <= budget]
    best = max(inside, key=lambda arch: (costs[arch], repr(arch)), default=None)
    return Baseline(name, best, min(costs.values(), default=None))


def alternate_skip(space: SearchSpace) -> Iterator[Arch]:
    """Every other block is skipped by the same share of the tokens, from some block on (ToSA)."""
    for block in _skips(space):
        for first in range(1, space.shape.depth):
            yield _place(space, dict.fromkeys(range(first, space.shape.depth, 2), block))


def skip_alone(space: SearchSpace) -> Iterator[Arch]:
    """Runs as long as the space allows, one full block between them, from some block on."""
    run = space.limits.skip_run
    for block in _skips(space):
        for first in range(1, space.shape.depth):
            blocks = range(first, space.shape.depth)
            yield _place(space, {i: block for i in blocks if (i - first) % (run + 1) < run})


def two_pools(space: SearchSpace) -> Iterator[Arch]:
    """Two poolings, at a third and two thirds of the depth (PSViT)."""
    yield from _pool_schedules(space, 2, lambda j, depth: (j + 1) * depth / 3)


def late_pools(space: SearchSpace) -> Iterator[Arch]:
    """All poolings as late as the space allows."""
    count = _most_pools(space)
    yield from _pool_schedules(space, count, lambda j, depth: depth - count + j)


def early_pools(space: SearchSpace) -> Iterator[Arch]:
    """All poolings as early as the space allows."""
    yield from _pool_schedules(space, _most_pools(space), lambda j, depth: j)


def linear_pools(space: SearchSpace) -> Iterator[Arch]:
    """As many poolings as the space allows, at even distances."""
    parts = _most_pools(space) + 1
    yield from _pool_schedules(space, parts - 1, lambda j, depth: (j + 1) * depth / parts)


def share_1_1(space: SearchSpace) -> Iterator[Arch]:
    """Own and shared blocks in turn, from some block on."""
    yield from _sharing(space, 1)


def share_1_2(space: SearchSpace) -> Iterator[Arch]:
    """One own block before every two shared ones, from some block on."""
    yield from _sharing(space, 2)


def share_alone(space: SearchSpace) -> Iterator[Arch]:
    """Shared runs as long as the space allows, from some block on."""
    yield from _sharing(space, space.limits.share_run)


Family = Callable[["SearchSpace"], Iterator[Arch]]

FAMILIES: dict[str, Family] = {
    "alternate skip": alternate_skip,
    "skip alone": skip_alone,
    "two pools": two_pools,
    "late pools": late_pools,
    "early pools": early_pools,
    "linear pools": linear_pools,
    "share 1:1": share_1_1,
    "share 1:2": share_1_2,
    "share alone": share_alone,
}


def _place(space: SearchSpace, blocks: dict[int, BlockArch]) -> Arch:
    """The full arch but for `blocks`, of which those stand that the space lists there."""
    listed = {i: block for i, block in blocks.items() if block in space.listed(i)}
    return Arch(tuple(listed.get(i, BlockArch()) for i in range(space.shape.depth)))


def _skips(space: SearchSpace) -> list[BlockArch]:
    if space.skip is None:
        return []
    return [
        BlockArch(skip=ratio, selector=selector)
        for ratio in space.skip.ratios
        for selector in space.skip.selectors
    ]


def _sharing(space: SearchSpace, run: int) -> Iterator[Arch]:
    if space.share is None:
        return
    shared = replace(BlockArch(), attention="shared")
    for first in range(space.shape.depth):
        blocks = range(first, space.shape.depth)
        yield _place(space, {i: shared for i in blocks if (i - first) % (run + 1)})


def _most_pools(space: SearchSpace) -> int:
    """The most poolings of any arch; `max_pools`, blocks and targets all bound it."""
    return max(state.pools for state in space.graph.levels[-1])


def _pool_schedules(
    space: SearchSpace, count: int, depth_of: Callable[[int, int], float]
) -> Iterator[Arch]:
    """`count` poolings of one kind, each at the allowed block nearest to its depth."""
    if space.pool is None or len(space.pool.blocks) < count:
        return
    free, places = list(space.pool.blocks), []
    for j in range(count):
        wanted = depth_of(j, space.shape.depth)
        places.append(min(free, key=lambda i: (abs(i - wanted), i)))
        free.remove(places[-1])
    places.sort()
    for kind in space.pool.kinds:
        pools = [pool for pool in space.pool.pools if pool.kind == kind]
        for chosen in _falling(pools, count):
            blocks = zip(places, chosen, strict=True)
            yield _place(space, {i: BlockArch(pool=pool) for i, pool in blocks})


def _falling(pools: list[Pool], count: int) -> Iterator[tuple[Pool, ...]]:
    """Targets in falling order for 2-D kinds; the same stride each time for 1-D kinds."""
    if pools[0].two_dimensional:
        ordered = sorted(pools, key=lambda pool: pool.grid or (0, 0), reverse=True)
        yield from combinations(ordered, count)
    else:
        yield from ((pool,) * count for pool in pools)
