"""Conversion and comparison of plain values, as in YAML and JSON."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from space.utils.errors import shown

Keys = tuple[str, ...]


def differences(old: Any, new: Any, place: Keys = ()) -> Iterator[tuple[Keys, Any, Any]]:
    """Iterate over the places where plain values differ, each with its old and its new value.

    None stands for a missing value; lists are compared as a whole.
    """
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in dict.fromkeys((*old, *new)):
            yield from differences(old.get(key), new.get(key), (*place, key))
    elif {} in (old, new) and None in (old, new):
        return  # an empty section, which earlier versions did not store
    elif old != new:
        yield place, old, new


def plain(value: Any) -> Any:
    """Convert a value to plain values: objects and functions become text."""
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return value if value is None or isinstance(value, str | int | float | bool) else shown(value)


def quote_value(value: Any) -> str:
    """Quote a value for a shell."""
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return shlex.quote(text)
