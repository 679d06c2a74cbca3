"""The `space` section of a config: what may be chosen, at which blocks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar, cast

from space.arch import POOL_KINDS, SELECTORS, Grid, Pool, PoolKind, Selector, is_integer
from space.errors import shown
from space.reader import Reader
from space.shape import BackboneShape
from space.tokens import halved

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class PoolAxis:
    """Where and how tokens may be pooled; every kind with every target that suits it."""

    blocks: tuple[int, ...]
    kinds: tuple[PoolKind, ...]
    grids: tuple[Grid, ...]
    strides: tuple[int, ...]
    max_pools: int

    @property
    def pools(self) -> tuple[Pool, ...]:
        found = []
        for kind in self.kinds:
            if kind.endswith("2d"):
                found += [Pool(kind, grid=grid) for grid in self.grids]
            else:
                found += [Pool(kind, stride=stride) for stride in self.strides]
        return tuple(found)

    @classmethod
    def read(cls, reader: Reader, shape: BackboneShape) -> PoolAxis:
        given = reader.mapping("kinds", blocks="all", grids=(), strides=(), max_pools=2)
        kinds = given["kinds"].distinct(lambda each: each.choice(POOL_KINDS))
        grids = _targets(given["grids"], lambda each: _grid(each, shape))
        strides = _targets(given["strides"], lambda each: each.integer(least=2))
        for key, targets, ending in (("grids", grids, "2d"), ("strides", strides, "1d")):
            wanted = [kind for kind in kinds if kind.endswith(ending)]
            if wanted and not targets:
                raise given[key].error(f"needed for {', '.join(wanted)}")
            if targets and not wanted:
                raise given[key].error(f"no {ending} kind is listed")
        if "conv1d" in kinds and strides != (2,):
            raise given["strides"].error(f"conv1d has stride 2 only, got {list(strides)}")
        if "conv2d" in kinds and not {halved(grid) for grid in (shape.grid, *grids)} & {*grids}:
            half = halved(shape.grid)
            raise given["grids"].error(
                "conv2d halves a grid, but none listed is half of another or of the backbone's; "
                f"that would be {half[0]}x{half[1]}"
            )
        blocks = _blocks(given["blocks"], shape.depth, first=0)
        max_pools = given["max_pools"].integer(least=1)
        return cls(blocks, cast(tuple[PoolKind, ...], kinds), grids, strides, max_pools)

    def to_dict(self) -> dict[str, Any]:
        values: dict[str, Any] = {"blocks": list(self.blocks), "kinds": list(self.kinds)}
        if self.grids:
            values["grids"] = [list(grid) for grid in self.grids]
        if self.strides:
            values["strides"] = list(self.strides)
        return values | {"max_pools": self.max_pools}


@dataclass(frozen=True, slots=True)
class ShareAxis:
    """Where a block may reuse the attention maps of the one before."""

    blocks: tuple[int, ...]
    max_run: int

    @classmethod
    def read(cls, reader: Reader, shape: BackboneShape) -> ShareAxis:
        given = reader.mapping(blocks="all", max_run=1)
        max_run = given["max_run"].integer(least=1)
        return cls(_blocks(given["blocks"], shape.depth, first=1), max_run)

    def to_dict(self) -> dict[str, Any]:
        return {"blocks": list(self.blocks), "max_run": self.max_run}


@dataclass(frozen=True, slots=True)
class SkipAxis:
    """Where which share of the patch tokens may bypass a block, and what selects them."""

    blocks: tuple[int, ...]
    ratios: tuple[float, ...]
    selectors: tuple[Selector, ...]
    max_run: int

    @classmethod
    def read(cls, reader: Reader, shape: BackboneShape) -> SkipAxis:
        given = reader.mapping("ratios", blocks="all", selectors=("map",), max_run=1)
        selectors = given["selectors"].distinct(lambda each: each.choice(SELECTORS))
        return cls(
            _blocks(given["blocks"], shape.depth, first=1),
            given["ratios"].distinct(Reader.ratio),
            cast(tuple[Selector, ...], selectors),
            given["max_run"].integer(least=1),
        )

    def to_dict(self) -> dict[str, Any]:
        return {
            "blocks": list(self.blocks),
            "ratios": list(self.ratios),
            "selectors": list(self.selectors),
            "max_run": self.max_run,
        }


def _targets(reader: Reader, read: Callable[[Reader], T]) -> tuple[T, ...]:
    """Distinct values of a list; none where the key is absent."""
    return () if reader.value == () else reader.distinct(read)


def _blocks(reader: Reader, depth: int, first: int) -> tuple[int, ...]:
    """The listed blocks in order; "all" means every block from `first` on."""
    if reader.value == "all":
        return tuple(range(first, depth))

    def block(each: Reader) -> int:
        value = each.value
        if not is_integer(value) or not 0 <= value < depth:
            raise each.error(f"must be a block of 0 to {depth - 1}, got {shown(value)}")
        if value < first:
            raise each.error(f"block {value} can never make this choice; the first is {first}")
        return value

    return tuple(sorted(reader.distinct(block)))


def _grid(reader: Reader, shape: BackboneShape) -> Grid:
    value, most = reader.value, shape.grid
    sides = (value, value) if is_integer(value) else value
    if not isinstance(sides, list | tuple) or len(sides) != 2:
        raise reader.error(f"must be a side or [height, width], got {shown(value)}")
    height, width = (replace(reader, value=side).integer(least=1) for side in sides)
    if height > most[0] or width > most[1] or (height, width) == most:
        raise reader.error(
            f"must be smaller than the backbone's grid {most[0]}x{most[1]}, got {height}x{width}"
        )
    return height, width
