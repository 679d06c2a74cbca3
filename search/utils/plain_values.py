"""Plain values, as YAML and JSON hold them: made of others, and compared."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from space.utils.errors import shown

Keys = tuple[str, ...]


class Difference(NamedTuple):
    """A value that is another one than before; None is one that is not there."""

    place: Keys
    old: Any
    new: Any


def differences(old: Any, new: Any, place: Keys = ()) -> Iterator[Difference]:
    """Each place where two plain values differ; lists are compared as a whole."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in dict.fromkeys((*old, *new)):
            yield from differences(old.get(key), new.get(key), (*place, key))
    elif {} in (old, new) and None in (old, new):
        return  # a section of no values, which earlier versions did not have
    elif old != new:
        yield Difference(place, old, new)


def plain(value: Any) -> Any:
    """What YAML can hold of a value: objects and functions by how they are written."""
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return value if value is None or isinstance(value, str | int | float | bool) else shown(value)


def as_word(value: Any) -> str:
    """A value as a shell takes it."""
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return shlex.quote(text)
