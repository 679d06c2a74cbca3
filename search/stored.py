"""What a command takes from the run's `config.yaml`, where its command line is silent.

An option comes first. Where none is given, a value counts that was edited in the config's file
since the run's last command; else the run's own, which an earlier option may have given.
"""

from __future__ import annotations

import copy
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, get_origin, get_type_hints

from search.complaints import section_of
from search.config import Config, FileConfig
from search.folder import OWN, RunFolder, plain
from search.urls import without_password
from space.utils.errors import cut
from space.utils.yaml_file import dotted

Keys = tuple[str, ...]
SAYS_NOTHING = object()


def stored_values(config: FileConfig, file: Path, arguments: Sequence[str]) -> dict[Keys, Any]:
    """Values of the run that a command line leaves as they are, where they differ from the file's.

    Args:
        config: as file and options give it.
        file: the config's file.
        arguments: the command line.

    Raises:
        InputError: a file of the run is not right.
    """
    stored, said = RunFolder(config, file).stored()
    options = [each.split("=")[0].removeprefix("--") for each in arguments if each[:2] == "--"]

    def silent(keys: Keys) -> bool:
        """Whether neither an option nor an edit of the file says anything of a value."""
        name = ".".join(keys)
        named = any(f"{name}.".startswith(f"{each}.") for each in (*OWN, "run", "search.name"))
        given = any(_overlap(name, each) for each in options)
        return not named and not given and _at(said, keys) == _at(config.file_values, keys)

    found = _differences(Config, stored, plain(asdict(config)))
    return {keys: value for keys, value in found if silent(keys)}


def with_values(data: Mapping[str, Any], values: Mapping[Keys, Any]) -> dict[str, Any]:
    """The data of a config's file with other values."""
    changed: dict[str, Any] = copy.deepcopy(dict(data))
    for (*sections, name), value in values.items():
        inner = changed
        for key in sections:
            if not isinstance(inner.get(key), dict):
                inner[key] = {}
            inner = inner[key]
        inner[name] = value
    return changed


def with_config(arguments: Sequence[str], data: Mapping[str, Any]) -> list[str]:
    """A command line with data in the place of the config's file."""
    text, found = json.dumps(data), list(arguments)
    for i, each in enumerate(arguments):
        if each == "--config":
            found[i + 1] = text
        elif each.startswith("--config="):
            found[i] = f"--config={text}"
    return found


def describe_values(values: Mapping[Keys, Any]) -> str:
    """Values as the options that they would be."""
    return " ".join(
        f"--{dotted(keys)} {cut(without_password(as_word(value)))}"
        for keys, value in values.items()
    )


def as_word(value: Any) -> str:
    """A value as a shell takes it."""
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return shlex.quote(text)


def _differences(
    kind: Any, stored: Mapping[str, Any], now: Mapping[str, Any], keys: Keys = ()
) -> Iterator[tuple[Keys, Any]]:
    """Each stored value of a section that is another one now."""
    for name, hint in get_type_hints(kind).items():
        if get_origin(hint) is ClassVar or name not in stored or stored[name] == now[name]:
            continue
        section, old, new = section_of(hint), stored[name], now[name]
        if section is not None and isinstance(old, dict) and isinstance(new, dict):
            yield from _differences(section, old, new, (*keys, name))
        else:
            yield (*keys, name), old


def _at(values: Any, keys: Keys) -> Any:
    """The value at a place, where there is one."""
    for key in keys:
        values = values.get(key, SAYS_NOTHING) if isinstance(values, dict) else SAYS_NOTHING
    return values


def _overlap(one: str, other: str) -> bool:
    """Whether one name is the other, or of a section or value that the other is in."""
    return f"{one}.".startswith(f"{other}.") or f"{other}.".startswith(f"{one}.")
