"""Token pooling before a block (PSViT, arXiv 2108.03428), which reduces the patch tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from typing import Any

from space.arch import POOL_KINDS, BlockArch, Grid, Pool, PoolKind
from space.operators.base import Axis, BlockCost, Families, Operator, Term, parse_blocks
from space.shape import BackboneShape
from space.state import State, Tokens
from space.utils.errors import is_integer, shown
from space.utils.reader import Reader

CONV_TAPS = {"conv2d": 9, "conv1d": 3}


@dataclass(frozen=True)
class PoolAxis(Axis):
    """The poolings that a space allows: each kind with each of its grids or strides."""

    kinds: tuple[PoolKind, ...]
    grids: tuple[Grid, ...]
    strides: tuple[int, ...]
    max_pools: int

    @cached_property
    def choices(self) -> tuple[Pool, ...]:
        pools: list[Pool] = []
        for kind in self.kinds:
            if kind.endswith("2d"):
                pools += [Pool(kind, grid=grid) for grid in self.grids]
            else:
                pools += [Pool(kind, stride=stride) for stride in self.strides]
        return tuple(pools)


class Pooling(Operator[Pool | None, PoolAxis]):
    """Pooling of the token grid or sequence; counts the poolings so far."""

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

    def from_dict(self, entries: Mapping[str, Reader]) -> Pool | None:
        keys = entries["pool"].mapping("kind", grid=None, stride=None)
        grid = keys["grid"].value
        if isinstance(grid, list):
            grid = tuple(grid)
        return entries["pool"].make(Pool, keys["kind"].value, grid, keys["stride"].value)

    def read_axis(self, section: Reader, shape: BackboneShape) -> PoolAxis:
        entries = section.mapping("kinds", blocks="all", grids=(), strides=(), max_pools=2)
        kinds = entries["kinds"].distinct(lambda each: each.choice(POOL_KINDS))
        grids = entries["grids"].distinct(lambda each: _read_grid(each, shape.grid), least=0)
        strides = entries["strides"].distinct(lambda each: each.integer(least=2), least=0)
        for key, targets, ending in (("grids", grids, "2d"), ("strides", strides, "1d")):
            if any(kind.endswith(ending) for kind in kinds) != bool(targets):
                example = [list(halve_grid(shape.grid))] if key == "grids" else [2]
                hint = f"such as {example}"
                if targets:
                    other = "strides, such as [2]" if key == "grids" else "grids"
                    hint = f"{', '.join(kinds)} needs {other}"
                raise entries[key].error(f"needed for {ending} kinds, and for no others; {hint}")
        if "conv1d" in kinds and strides != (2,):
            raise entries["strides"].error(f"conv1d has stride 2 only, got {list(strides)}")
        if "conv2d" in kinds and not {halve_grid(grid) for grid in (shape.grid, *grids)} & {*grids}:
            half = halve_grid(shape.grid)
            raise entries["grids"].error(
                "conv2d halves a grid, but none listed is half of another or of the backbone's; "
                f"that would be {half[0]}x{half[1]}"
            )
        blocks = parse_blocks(entries["blocks"], shape.depth, first=0)
        return PoolAxis(blocks, kinds, grids, strides, entries["max_pools"].integer(least=1))

    def canonical(
        self, tokens: Tokens, counter: int, choice: Pool | None, axis: PoolAxis | None
    ) -> Pool | None:
        if choice is None:
            return None
        grid, count = measure_pooled(tokens, choice)
        if count == tokens.patches and grid in (tokens.grid, None):
            return None
        if axis is not None and choice.stride is not None and choice.kind in axis.kinds:
            strides = [stride for stride in axis.strides if -(-tokens.patches // stride) == count]
            return replace(choice, stride=min(strides, default=choice.stride))
        return choice

    def violation(
        self, i: int, tokens: Tokens, counter: int, choice: Pool | None, axis: PoolAxis | None
    ) -> str | None:
        if choice is None:
            return None
        if axis is not None and counter >= axis.max_pools:
            return f"more than {axis.max_pools} poolings (pool.max_pools)"
        if choice.grid is None:
            return None
        if tokens.grid is None:
            return f"pool {choice} needs a token grid; after a 1-D pooling there is none"
        height, width = tokens.grid
        if choice.grid[0] > height or choice.grid[1] > width or choice.grid == tokens.grid:
            return f"pool {choice} is not smaller than the grid {height}x{width}"
        half = halve_grid(tokens.grid)
        if choice.kind == "conv2d" and choice.grid != half:
            return f"pool {choice} must halve the grid {height}x{width} to {half[0]}x{half[1]}"
        return None

    def advance(self, tokens: Tokens, counter: int, choice: Pool | None) -> tuple[Tokens, int]:
        if choice is None:
            return tokens, counter
        grid, count = measure_pooled(tokens, choice)
        return Tokens(grid, count, 0, True, tokens.own_maps), counter + 1

    def cost(
        self, tokens: Tokens, counter: int, choice: Pool | None, shape: BackboneShape
    ) -> BlockCost:
        if choice is None:
            return BlockCost()
        left = measure_pooled(tokens, choice)[1]
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

    def gene_choices(
        self, axis: PoolAxis, possible: Iterable[Pool | None]
    ) -> Iterable[Pool | None]:
        # A pooling that no arch has in this block would always decode to none.
        return possible

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
        return f"{choice and choice.kind}\n{_format_size(before)}\n→ {_format_size(after)}"


def _format_size(tokens: Tokens) -> str:
    return str(tokens.patches) if tokens.grid is None else "{} x {}".format(*tokens.grid)


def measure_pooled(tokens: Tokens, pool: Pool) -> tuple[Grid | None, int]:
    """Return the grid (None after a 1-D kind) and the number of the patch tokens after `pool`."""
    if pool.grid is not None:
        return pool.grid, pool.grid[0] * pool.grid[1]
    assert pool.stride is not None
    return None, -(-tokens.patches // pool.stride)


def halve_grid(grid: Grid) -> Grid:
    """Return the grid after a 2-D convolution of stride 2."""
    return -(-grid[0] // 2), -(-grid[1] // 2)


def _read_grid(reader: Reader, full: Grid) -> Grid:
    value = reader.value
    sides = (value, value) if is_integer(value) else value
    if not isinstance(sides, list | tuple) or len(sides) != 2:
        raise reader.error(f"must be a side or [height, width], got {shown(value)}")
    height, width = (replace(reader, value=side).integer(least=1) for side in sides)
    if height > full[0] or width > full[1] or (height, width) == full:
        raise reader.error(
            f"must be smaller than the backbone's grid {full[0]}x{full[1]}, got {height}x{width}"
        )
    return height, width


def _schedules(
    axis: PoolAxis | None, count: int, ideal_block: Callable[[int], float]
) -> Iterator[dict[int, Pool]]:
    """Yield archs with `count` poolings of one kind; grids decrease, a stride is repeated.

    Args:
        axis: The axis of the space; nothing is yielded without one.
        count: Number of poolings.
        ideal_block: Position that pooling number j should have; it gets the nearest free block.
    """
    if axis is None or len(axis.blocks) < count:
        return
    free, blocks = list(axis.blocks), []
    for j in range(count):
        ideal = ideal_block(j)
        blocks.append(min(free, key=lambda i: (abs(i - ideal), i)))
        free.remove(blocks[-1])
    for kind in axis.kinds:
        pools = [pool for pool in axis.choices if pool.kind == kind]
        schedules: Iterable[tuple[Pool, ...]] = [(pool,) * count for pool in pools]
        if kind.endswith("2d"):
            pools.sort(key=lambda pool: pool.grid or (0, 0), reverse=True)
            schedules = combinations(pools, count)
        for schedule in schedules:
            yield dict(zip(sorted(blocks), schedule, strict=True))
