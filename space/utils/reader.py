"""The checked reader of values in files and configs; errors name the place of a value."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from space.utils.errors import (
    InputError,
    check_one_of,
    is_integer,
    is_number,
    near,
    one_line,
    shown,
)
from space.utils.yaml_file import Document, Place, dotted, read_yaml

T = TypeVar("T")
NameT = TypeVar("NameT", bound=str)


@dataclass(frozen=True)
class Reader:
    """A value of a file or a config, with its place for errors.

    Args:
        value: The raw value.
        place: Keys and indices that lead to the value.
        document: The file of the value; None for values from Python or an option.
    """

    value: Any
    place: Place = ()
    document: Document | None = None

    def error(self, message: str) -> InputError:
        """Make an error about this value: `FILE:LINE: PLACE: message`."""
        if self.document is not None:
            return self.document.error(self.place, message)
        return InputError(f"{dotted(self.place)}: {message}")

    def mapping(self, *required: str, **optional: Any) -> dict[str, Reader]:
        """Read a mapping with these keys and no others; a value of null counts as missing.

        Args:
            required: Required keys.
            optional: Optional keys with their defaults.
        """
        known = [*required, *optional]
        if not isinstance(self.value, Mapping):
            raise self.error(f"must be a mapping of {', '.join(known)}, got {shown(self.value)}")
        for key in self.value:
            if key not in known:
                hint = near(str(key), known) or f"; known are {', '.join(known)}"
                raise self._at(str(key)).error(f"unknown key{hint}")
        values = {key: each for key, each in self.value.items() if each is not None}
        for key in required:
            if key not in values:
                raise self.error(f"missing {key!r}")
        return {key: self._at(key, value) for key, value in (optional | values).items()}

    def some_of(self, *keys: str) -> dict[str, Reader]:
        """Read a mapping with some of these keys and no others; a value of null is left out."""
        entries = self.mapping(**dict.fromkeys(keys)).items()
        return {key: each for key, each in entries if each.value is not None}

    def plain_mapping(self) -> dict[str, Any]:
        """Read a mapping with any keys; returns plain values."""
        return {key: each.value for key, each in self.entries().items()}

    def entries(self) -> dict[str, Reader]:
        """Read a mapping with any keys."""
        if not isinstance(self.value, Mapping):
            raise self.error(f"must be a mapping, got {shown(self.value)}")
        return {str(key): self._at(str(key), value) for key, value in self.value.items()}

    def items(self, least: int = 0) -> list[Reader]:
        """Read a list of at least `least` values."""
        if not isinstance(self.value, list | tuple) or len(self.value) < least:
            expected = "a list, not empty" if least else "a list"
            raise self.error(f"must be {expected}, got {shown(self.value)}")
        return [self._at(i, value) for i, value in enumerate(self.value)]

    def distinct(self, read: Callable[[Reader], T], least: int = 1) -> tuple[T, ...]:
        """Read a list of at least `least` values without duplicates."""
        values: list[T] = []
        for each in self.items(least):
            value = read(each)
            if value in values:
                raise each.error(f"{shown(each.value)} is listed twice")
            values.append(value)
        return tuple(values)

    def integer(self, least: int = 0, most: int | None = None) -> int:
        value = self.value
        if not is_integer(value) or value < least or (most is not None and value > most):
            limits = f"of at least {least}" if most is None else f"of {least} to {most}"
            raise self.error(f"must be an integer {limits}, got {shown(value)}")
        return value

    def number(self, least: float | None = 0.0) -> float:
        value = self.value
        if not is_number(value) or (least is not None and value < least):
            bound = "" if least is None else f" of at least {least:g}"
            raise self.error(f"must be a number{bound}, got {shown(value)}")
        return float(value)

    def positive(self) -> float:
        if self.number() == 0:
            raise self.error("must be over 0")
        return float(self.value)

    def ratio(self) -> float:
        """Read a number in (0, 1)."""
        if not is_number(self.value) or not 0 < self.value < 1:
            raise self.error(f"must be a number in (0, 1), got {shown(self.value)}")
        return float(self.value)

    def numbers(self, count: int) -> tuple[float, ...]:
        """Read a list of `count` numbers."""
        values = [each.value for each in self.items()]
        if len(values) != count or not all(map(is_number, values)):
            raise self.error(f"must be {count} numbers, got {shown(self.value)}")
        return tuple(map(float, values))

    def named_numbers(self) -> dict[str, float]:
        """Read a mapping of names to numbers."""
        if not isinstance(self.value, Mapping) or not all(map(is_number, self.value.values())):
            raise self.error(f"must be numbers by name, got {shown(self.value)}")
        return {str(name): float(number) for name, number in self.value.items()}

    def flag(self) -> bool:
        if not isinstance(self.value, bool):
            raise self.error(f"must be true or false, got {shown(self.value)}")
        return self.value

    def text(self) -> str:
        if not isinstance(self.value, str):
            raise self.error(f"must be text, got {shown(self.value)}")
        return self.value

    def choice(self, known: tuple[NameT, ...]) -> NameT:
        self.make(check_one_of, "value", self.value, known)
        return known[known.index(self.value)]

    def make(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Call `function`, and add the place of this value to its InputError."""
        try:
            return function(*args, **kwargs)
        except InputError as error:
            raise self.error(str(error)) from None

    def _at(self, key: str | int, value: Any = None) -> Reader:
        return Reader(value, (*self.place, key), self.document)


def open_yaml(path: str | Path, schema: str) -> Reader:
    """Open a YAML file of a schema.

    Raises:
        InputError: The file cannot be read, or has another schema.
    """
    return open_document(read_yaml(path), schema)


def open_document(document: Document, schema: str) -> Reader:
    """Make a reader of a document whose schema is checked before any other key.

    Raises:
        InputError: The document has another schema.
    """
    actual = document.data.get("schema") if isinstance(document.data, dict) else None
    if actual is not None and actual != schema:
        raise document.error(("schema",), f"must be {schema}, got {shown(actual)}")
    return Reader(document.data, (), document)


def open_json(path: Path) -> Reader:
    """Open a JSON file.

    Raises:
        InputError: The file cannot be read, or is no JSON.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read: {one_line(error)}") from None
    return Reader(data, (), Document(path, data, {}))
