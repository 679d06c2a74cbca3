"""Command lines taken apart: the file of the config, and values by the names of their options."""

from __future__ import annotations

import json
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args, get_origin

from jsonargparse import get_loader
from yaml import YAMLError

from search.cli.commands import Command
from search.cli.messages import options, section_of
from search.pipeline.run_folder import CONFIG
from search.utils.plain_values import Keys
from space.utils.errors import InputError, cut, near
from space.utils.yaml_file import Document, Place, check_size, dotted


@dataclass(frozen=True)
class Arguments:
    """What follows a subcommand on its command line.

    Args:
        file: The config's file; None where none is given.
        own: The values of the subcommand's own options, as they were typed.
        values: Those of the config, by the places of their options in it.
    """

    file: Path | None = None
    own: dict[str, Any] = field(default_factory=dict)
    values: dict[Keys, Any] = field(default_factory=dict)

    def over(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """The data of a config with the options' values; of sections the other values stay."""
        return with_values(data, self.values)

    def say(self, place: Sequence[str | int]) -> bool:
        """Whether an option says what a place of the config holds, or a part of it."""
        name = ".".join(map(str, place))
        return any(_overlap(name, each) for each in (*map(".".join, self.values), *self.own))

    def complaint(self, place: Place, message: str, document: Document | None) -> str:
        """What is wrong with a value, with the option or with file and line, as it was given."""
        if document is not None and not self.say(place):
            return str(document.error(place, message))
        return f"--{dotted(place)}: {message}"


def split_arguments(command: Command, words: Sequence[str]) -> Arguments:
    """Take apart what follows a subcommand.

    Raises:
        InputError: an option is unknown, has no value, or one that cannot be read.
    """
    own = {option.name: option.type for option in command.options}
    kinds = options() | own
    found, left = Arguments(), list(words)
    files = [left.pop(0)] if left and not left[0].startswith("-") else []
    while left:
        word, equals, value = left.pop(0).partition("=")
        name = command.short.get(word, word).removeprefix("--")
        kind, inside = _kind_of(name, kinds)
        if name != "config" and (kind is None or not word.startswith("--")):
            known = [f"--{each}" for each in (*own, *kinds)]
            raise InputError(f"unknown option {cut(word)}{near(word, known)}")
        values = [value] if equals else []
        while left and not equals and not left[0].startswith("--"):
            if values and not _is(list, kind):
                break
            values.append(left.pop(0))
        if not values and kind is not bool:
            raise InputError(f"--{name}: a value is missing")
        if name == "config":
            files += values
        elif name in own:
            found.own[name] = _value(name, values, kind)
        else:
            value = _loaded(name, values[0]) if inside else _value(name, values, kind)
            _put(found.values, tuple(name.split(".")), value)
    if len(files) > 1:
        raise InputError(f"--config: give one config, got {' and '.join(map(cut, files))}")
    # The folder of a run stands for its config.
    path = Path(files[0]) if files and files[0] else None
    path = path / CONFIG if path is not None and (path / CONFIG).is_file() else path
    return Arguments(path, found.own, found.values)


def with_values(data: Mapping[str, Any], values: Mapping[Keys, Any]) -> dict[str, Any]:
    """The data of a config's file with other values."""
    changed = dict(data)
    for (first, *rest), value in values.items():
        inner = changed.get(first)
        known = inner if isinstance(inner, dict) else {}
        changed[first] = with_values(known, {(*rest,): value}) if rest else value
    return changed


def _put(values: dict[Keys, Any], keys: Keys, value: Any) -> None:
    """Note an option's value: what earlier ones said of the same place, or inside it, is gone."""
    for each in [each for each in values if each[: len(keys)] == keys]:
        del values[each]
    if isinstance(value, dict) and section_of(options().get(".".join(keys))) is not None:
        for key, inner in value.items():
            _put(values, (*keys, str(key)), inner)
    else:
        values[keys] = value


def _kind_of(name: str, kinds: Mapping[str, Any]) -> tuple[Any, bool]:
    """The type of an option, and whether it is inside a mapping such as `space`."""
    if name in kinds:
        return kinds[name], False
    outer = name.rpartition(".")[0]
    kind = _kind_of(outer, kinds)[0] if outer else None
    return (kind, True) if _is(dict, kind) else (None, False)


def _is(wanted: type, kind: Any) -> bool:
    """Whether a type is a list (or a dict), or one or nothing."""
    alternatives = get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    return all((get_origin(each) or each) in (wanted, types.NoneType) for each in alternatives)


def _value(name: str, values: list[str], kind: Any) -> Any:
    """An option's value as the parser takes it: text, which it reads by the option's type."""
    if not values:
        return "true"
    if _is(list, kind) and not (len(values) == 1 and values[0].startswith("[")):
        return values
    check_text(f"--{name}", values[0])
    if _is(dict, kind) or section_of(kind) is not None:
        return _loaded(name, values[0])
    return values[0]


def _loaded(name: str, text: str) -> Any:
    """The plain value that an option's text stands for."""
    check_text(f"--{name}", text)
    try:
        return json.loads(json.dumps(get_loader("yaml")(text), default=str))
    except (YAMLError, ValueError, RecursionError):
        raise InputError(f"--{name}: cannot be read: {cut(text)}") from None


def check_text(name: str, text: str) -> None:
    """Refuse text so deep that reading it would end the process: the parser takes it for YAML.

    Raises:
        InputError: naming it as `name`.
    """
    try:
        check_size(name, text)
    except (YAMLError, UnicodeEncodeError):
        return  # text as good as any


def _overlap(one: str, other: str) -> bool:
    """Whether one name is the other, or of a section or value that the other is in."""
    return f"{one}.".startswith(f"{other}.") or f"{other}.".startswith(f"{one}.")
