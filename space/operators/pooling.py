"""Token pooling before a block (PSViT, arXiv 2108.03428), which reduces the patch tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from typing import Any

from space.arch import POOL_KINDS, BlockArch, Grid, Pool, PoolKind
from space.operators.base import FREE, Axis, BlockCost, Families, Operator, Placing, Term, blocks_of
from space.shape import BackboneShape
from space.state import State, Tokens
from space.utils.errors import shown
from space.utils.reader import Reader
from space.utils.values import is_integer

CONV_TAPS = {"conv2d": 9, "conv1d": 3}


@dataclass(frozen=True)
class PoolAxis(Axis):
    """The poolings that a space allows: every kind with every grid or stride that suits it."""

    kinds: tuple[PoolKind, ...]
    grids: tuple[Grid, ...]
    strides: tuple[int, ...]
    max_pools: int

    @cached_property
    def choices(self) -> tuple[Pool, ...]:
        found: list[Pool] = []
        for kind in self.kinds:
            if kind.endswith("2d"):
                found += [Pool(kind, grid=grid) for grid in self.grids]
            else:
                found += [Pool(kind, stride=stride) for stride in self.strides]
        return tuple(found)


class Pooling(Operator[Pool | None, PoolAxis]):
    """Pooling of the token grid or sequence. Its counter: poolings so far."""

    name, field, kind, plain = "pool", "pool", "reduce", None
    title, caption = "pool", "Funnel: pooling before the block"

    def choice(self, block: BlockArch) -> Pool | None:
        return block.pool

    def put(self, block: BlockArch, choice: Pool | None) -> BlockArch:
        return replace(block, pool=choice)

    def text(self, choice: Pool | None) -> str:
        return "none" if choice is None else str(choice)

    def to_dict(self, choice: Pool | None) -> dict[str, Any]:
        if choice is None:
            return {}
        target = {"stride": choice.stride} if choice.grid is None else {"grid": list(choice.grid)}
        return {"pool": {"kind": choice.kind, **target}}

    def from_dict(self, given: Mapping[str, Reader]) -> Pool | None:
        keys = given["pool"].mapping("kind", grid=None, stride=None)
        grid = keys["grid"].value
        if isinstance(grid, list):
            grid = tuple(grid)
        return given["pool"].make(Pool, keys["kind"].value, grid, keys["stride"].value)

    def read_axis(self, section: Reader, shape: BackboneShape) -> PoolAxis:
        given = section.mapping("kinds", blocks="all", grids=(), strides=(), max_pools=2)
        kinds = given["kinds"].distinct(lambda each: each.choice(POOL_KINDS))
        grids = given["grids"].distinct(lambda each: _read_grid(each, shape.grid), least=0)
        strides = given["strides"].distinct(lambda each: each.integer(least=2), least=0)
        for key, targets, ending in (("grids", grids, "2d"), ("strides", strides, "1d")):
            if any(kind.endswith(ending) for kind in kinds) != bool(targets):
                raise given[key].error(f"needed for {ending} kinds, and for no others")
        if "conv1d" in kinds and strides != (2,):
            raise given["strides"].error(f"conv1d has stride 2 only, got {list(strides)}")
        if "conv2d" in kinds and not {halved(grid) for grid in (shape.grid, *grids)} & {*grids}:
            half = halved(shape.grid)
            raise given["grids"].error(
                "conv2d halves a grid, but none listed is half of another or of the backbone's; "
                f"that would be {half[0]}x{half[1]}"
            )
        blocks = blocks_of(given["blocks"], shape.depth, first=0)
        return PoolAxis(blocks, kinds, grids, strides, given["max_pools"].integer(least=1))

    def canonical(
        self, tokens: Tokens, own: int, choice: Pool | None, axis: PoolAxis | None
    ) -> Pool | None:
        if choice is None:
            return None
        grid, count = pooled(tokens, choice)
        if count == tokens.patches and grid in (tokens.grid, None):
            return None
        if axis is not None and choice.stride is not None and choice.kind in axis.kinds:
            equal = [stride for stride in axis.strides if -(-tokens.patches // stride) == count]
            return replace(choice, stride=min(equal, default=choice.stride))
        return choice

    def violation(
        self, i: int, tokens: Tokens, own: int, choice: Pool | None, axis: PoolAxis | None
    ) -> str | None:
        if choice is None:
            return None
        if axis is not None and own >= axis.max_pools:
            return f"more than {axis.max_pools} poolings (pool.max_pools)"
        if choice.grid is not None:
            return _grid_violation(tokens, choice, choice.grid)
        grows = pooled(tokens, choice)[1] >= tokens.patches
        return f"pool {choice} does not reduce {tokens.patches} tokens" if grows else None

    def advance(self, tokens: Tokens, own: int, choice: Pool | None) -> tuple[Tokens, int]:
        if choice is None:
            return tokens, own
        grid, count = pooled(tokens, choice)
        return Tokens(grid, count, 0, True, tokens.own_maps), own + 1

    def cost(
        self, tokens: Tokens, own: int, choice: Pool | None, shape: BackboneShape
    ) -> BlockCost:
        if choice is None:
            return FREE
        left = pooled(tokens, choice)[1]
        params = CONV_TAPS.get(choice.kind, 0) * shape.width
        return BlockCost(
            macs=params * left,
            params=params,
            before=(tokens.patches + left + 2 * shape.prefix) * shape.width,
            terms=((Term(choice.kind, tokens.patches, left), params * left),),
        )

    def effect(self, after: State, choice: Pool | None) -> list[Any]:
        return [choice and [choice.kind, after.tokens.grid, after.tokens.patches]]

    def kernel(self, choice: Pool | None) -> str | None:
        return choice.kind if choice is not None and choice.learned else None

    def gene_choices(self, axis: PoolAxis, found: Iterable[Pool | None]) -> Iterable[Pool | None]:
        # A pooling that no arch has in this block would always decode to none.
        return found

    def families(self, axis: PoolAxis | None, depth: int, ends: list[int]) -> Families:
        most = max(ends)
        return {
            "two pools": _schedules(axis, 2, lambda j: (j + 1) * depth / 3),
            "late pools": _schedules(axis, most, lambda j: depth - most + j),
            "early pools": _schedules(axis, most, lambda j: j),
            "linear pools": _schedules(axis, most, lambda j: (j + 1) * depth / (most + 1)),
        }

    def describe(self, choice: Pool | None) -> str:
        if choice is None:
            return ""
        target = "{} x {}".format(*choice.grid) if choice.grid else f"stride {choice.stride}"
        return f"{choice.kind} to {target}"

    def label(self, before: Tokens, after: Tokens, choice: Pool | None) -> str:
        return f"{choice and choice.kind}\n{_size(before)}\n→ {_size(after)}"


def _size(tokens: Tokens) -> str:
    return str(tokens.patches) if tokens.grid is None else "{} x {}".format(*tokens.grid)


def pooled(tokens: Tokens, pool: Pool) -> tuple[Grid | None, int]:
    """Return grid and number of the patch tokens after `pool`."""
    if pool.grid is not None:
        return pool.grid, pool.grid[0] * pool.grid[1]
    assert pool.stride is not None
    return None, -(-tokens.patches // pool.stride)


def halved(grid: Grid) -> Grid:
    """Return the grid after a 2-D convolution of stride 2."""
    return -(-grid[0] // 2), -(-grid[1] // 2)


def _grid_violation(tokens: Tokens, pool: Pool, target: Grid) -> str | None:
    if tokens.grid is None:
        return f"pool {pool} needs a token grid; after a 1-D pooling there is none"
    height, width = tokens.grid
    if target[0] > height or target[1] > width or target == tokens.grid:
        return f"pool {pool} is not smaller than the grid {height}x{width}"
    half = halved(tokens.grid)
    if pool.kind == "conv2d" and target != half:
        return f"pool {pool} must halve the grid {height}x{width} to {half[0]}x{half[1]}"
    return None


def _read_grid(reader: Reader, most: Grid) -> Grid:
    value = reader.value
    sides = (value, value) if is_integer(value) else value
    if not isinstance(sides, list | tuple) or len(sides) != 2:
        raise reader.error(f"must be a side or [height, width], got {shown(value)}")
    height, width = (replace(reader, value=side).integer(least=1) for side in sides)
    if height > most[0] or width > most[1] or (height, width) == most:
        raise reader.error(
            f"must be smaller than the backbone's grid {most[0]}x{most[1]}, got {height}x{width}"
        )
    return height, width


def _schedules(
    axis: PoolAxis | None, count: int, depth_of: Callable[[int], float]
) -> Iterator[Placing]:
    """Yield placings of `count` poolings of one kind, each at the block nearest its depth.

    The grids of 2-D kinds decrease; 1-D kinds repeat one stride.
    """
    if axis is None or len(axis.blocks) < count:
        return
    free, places = list(axis.blocks), []
    for j in range(count):
        wanted = depth_of(j)
        places.append(min(free, key=lambda i: (abs(i - wanted), i)))
        free.remove(places[-1])
    for kind in axis.kinds:
        pools = [pool for pool in axis.choices if pool.kind == kind]
        schedules: Iterable[tuple[Pool, ...]] = [(pool,) * count for pool in pools]
        if kind.endswith("2d"):
            pools.sort(key=lambda pool: pool.grid or (0, 0), reverse=True)
            schedules = combinations(pools, count)
        for schedule in schedules:
            yield dict(zip(sorted(places), schedule, strict=True))
