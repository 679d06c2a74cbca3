"""The `space` section of a config: what may be chosen, at which blocks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from space.arch import (
    POOL_KINDS,
    SELECTORS,
    Grid,
    Pool,
    PoolKind,
    Selector,
    is_integer,
    one_of,
)
from space.errors import InputError, near, shown
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
    def from_dict(cls, values: object, shape: BackboneShape, place: str) -> PoolAxis:
        table = Table(values, place, ("blocks", "kinds", "grids", "strides", "max_pools"))
        kinds = table.several("kinds", _choice(POOL_KINDS))
        grids = table.several("grids", lambda value: _grid(value, shape), default=())
        strides = table.several("strides", _integer(2), default=())
        for key, targets, ending in (("grids", grids, "2d"), ("strides", strides, "1d")):
            wanted = [kind for kind in kinds if kind.endswith(ending)]
            if bool(wanted) != bool(targets):
                given = (
                    f"needed for {', '.join(wanted)}" if wanted else f"no {ending} kind is listed"
                )
                raise InputError(f"{place}.{key}: {given}")
        if "conv1d" in kinds and strides != (2,):
            raise InputError(f"{place}.strides: conv1d has stride 2 only, got {list(strides)}")
        if "conv2d" in kinds and not {halved(grid) for grid in (shape.grid, *grids)} & {*grids}:
            half = halved(shape.grid)
            raise InputError(
                f"{place}.grids: conv2d halves a grid, but none listed is half of another or of "
                f"the backbone's; that would be {half[0]}x{half[1]}"
            )
        blocks = table.blocks(shape.depth, first=0)
        max_pools = table.one("max_pools", _integer(1), default=2)
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
    def from_dict(cls, values: object, shape: BackboneShape, place: str) -> ShareAxis:
        table = Table(values, place, ("blocks", "max_run"))
        max_run = table.one("max_run", _integer(1), default=1)
        return cls(table.blocks(shape.depth, first=1), max_run)

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
    def from_dict(cls, values: object, shape: BackboneShape, place: str) -> SkipAxis:
        table = Table(values, place, ("blocks", "ratios", "selectors", "max_run"))
        selectors = table.several("selectors", _choice(SELECTORS), default=("map",))
        return cls(
            table.blocks(shape.depth, first=1),
            table.several("ratios", _ratio),
            cast(tuple[Selector, ...], selectors),
            table.one("max_run", _integer(1), default=1),
        )

    def to_dict(self) -> dict[str, Any]:
        return {
            "blocks": list(self.blocks),
            "ratios": list(self.ratios),
            "selectors": list(self.selectors),
            "max_run": self.max_run,
        }


class Table:
    """A mapping of a config whose values are read one by one; errors name the place."""

    def __init__(self, values: object, place: str, known: tuple[str, ...]) -> None:
        if not isinstance(values, Mapping):
            raise InputError(
                f"{place}: must be a mapping of {', '.join(known)}, got {shown(values)}"
            )
        for key in values:
            if key not in known:
                raise InputError(f"{place}: unknown key {shown(key)}{near(str(key), list(known))}")
        self._values = values
        self._place = place

    def one(self, key: str, read: Callable[[object], T], default: T | None = None) -> T:
        if self._values.get(key) is None:
            if default is None:
                raise InputError(f"{self._place}.{key}: missing")
            return default
        return _read(f"{self._place}.{key}", read, self._values[key])

    def several(
        self, key: str, read: Callable[[object], T], default: tuple[T, ...] | None = None
    ) -> tuple[T, ...]:
        values = self._values.get(key)
        place = f"{self._place}.{key}"
        if values is None and default is not None:
            return default
        if not isinstance(values, list | tuple) or not values:
            got = "missing" if values is None else f"must be a list, not empty, got {shown(values)}"
            raise InputError(f"{place}: {got}")
        found = tuple(_read(f"{place}[{i}]", read, value) for i, value in enumerate(values))
        seen: set[object] = set()
        for i, value in enumerate(found):
            if value in seen:
                raise InputError(f"{place}[{i}]: {shown(values[i])} is listed twice")
            seen.add(value)
        return found

    def blocks(self, depth: int, first: int) -> tuple[int, ...]:
        """The listed blocks in order; "all" (the default) means every block from `first` on."""
        if self._values.get("blocks") in (None, "all"):
            return tuple(range(first, depth))

        def block(value: object) -> int:
            if not is_integer(value) or not 0 <= value < depth:
                raise InputError(f"must be a block of 0 to {depth - 1}, got {shown(value)}")
            if value < first:
                raise InputError(f"block {value} can never make this choice; the first is {first}")
            return value

        return tuple(sorted(self.several("blocks", block)))


def _read(place: str, read: Callable[[object], T], value: object) -> T:
    try:
        return read(value)
    except InputError as error:
        raise InputError(f"{place}: {error}") from None


def _choice(known: tuple[str, ...]) -> Callable[[object], str]:
    def read(value: object) -> str:
        one_of("value", value, known)
        return cast(str, value)

    return read


def _integer(least: int) -> Callable[[object], int]:
    def read(value: object) -> int:
        if not is_integer(value) or value < least:
            raise InputError(f"must be an integer of at least {least}, got {shown(value)}")
        return value

    return read


def _ratio(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
        raise InputError(f"must be a number in (0, 1), got {shown(value)}")
    return float(value)


def _grid(value: object, shape: BackboneShape) -> Grid:
    sides = (value, value) if is_integer(value) else value
    if not isinstance(sides, list | tuple) or len(sides) != 2:
        raise InputError(f"must be a side or [height, width], got {shown(value)}")
    height, width = _integer(1)(sides[0]), _integer(1)(sides[1])
    most = shape.grid
    if height > most[0] or width > most[1] or (height, width) == most:
        raise InputError(
            f"must be smaller than the backbone's grid {most[0]}x{most[1]}, got {height}x{width}"
        )
    return height, width
