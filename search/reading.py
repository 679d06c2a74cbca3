"""Reading what a search and a profile write: each value is checked, and errors name its place."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeGuard, TypeVar

from space.arch import Arch, BlockArch, Pool, is_integer
from space.errors import InputError, near, shown
from space.yamlfile import Document, Place

T = TypeVar("T")


class Reader:
    """Checks the values of a document one by one; errors name file, line and place."""

    def __init__(self, document: Document) -> None:
        self.document = document

    def arch(self, place: Place, value: object) -> Arch:
        blocks = [
            self.block((*place, i), block) for i, block in enumerate(self.items(place, value))
        ]
        return self.at(place, Arch, tuple(blocks))

    def block(self, place: Place, value: object) -> BlockArch:
        data = self.mapping(place, value, ("pool", "skip", "selector", "attention"), partly=True)
        if data.get("pool") is not None:
            there = (*place, "pool")
            pool = self.mapping(there, data["pool"], ("kind", "grid", "stride"), partly=True)
            if isinstance(pool.get("grid"), list):
                pool["grid"] = tuple(pool["grid"])
            data["pool"] = self.at(there, Pool, **{"kind": None, **pool})
        return self.at(place, BlockArch, **data)

    def mapping(
        self,
        place: Place,
        value: object,
        keys: tuple[str, ...],
        partly: bool = False,
        optional: tuple[str, ...] = (),
    ) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise self.document.error(place, f"must be a mapping, got {shown(value)}")
        for key in value:
            if key not in (*keys, *optional):
                hint = near(key, list(keys)) or f"; known are {', '.join(keys)}"
                raise self.document.error((*place, key), f"unknown key{hint}")
        missing = [key for key in keys if key not in value]
        if missing and not partly:
            raise self.document.error(place, f"missing {missing[0]!r}")
        return dict(value)

    def items(self, place: Place, value: object) -> list[Any]:
        if not isinstance(value, list):
            raise self.document.error(place, f"must be a list, got {shown(value)}")
        return value

    def values(self, place: Place, value: object, count: int) -> tuple[float, ...]:
        items = self.items(place, value)
        if len(items) != count or not all(map(is_finite, items)):
            raise self.document.error(place, f"must be {count} numbers, got {shown(value)}")
        return tuple(map(float, items))

    def number(self, place: Place, value: object, least: float = 0.0) -> float:
        if not is_finite(value) or value < least:
            message = f"must be a number of at least {least:g}, got {shown(value)}"
            raise self.document.error(place, message)
        return float(value)

    def positive(self, place: Place, value: object) -> float:
        number = self.number(place, value)
        if number == 0:
            raise self.document.error(place, "must be over 0")
        return number

    def count(self, place: Place, value: object) -> int:
        if not is_integer(value) or value < 0:
            raise self.document.error(place, f"must be a count, got {shown(value)}")
        return value

    def flag(self, place: Place, value: object) -> bool:
        if not isinstance(value, bool):
            raise self.document.error(place, f"must be true or false, got {shown(value)}")
        return value

    def text(self, place: Place, value: object) -> str:
        if not isinstance(value, str):
            raise self.document.error(place, f"must be text, got {shown(value)}")
        return value

    def at(self, place: Place, make: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Call `make`, giving its complaint the place in the file."""
        try:
            return make(*args, **kwargs)
        except InputError as error:
            raise self.document.error(place, str(error)) from None


def is_finite(value: object) -> TypeGuard[int | float]:
    """Whether `value` is a number that is neither NaN nor infinite; True and False are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
