"""Splitting command lines into the config's file and the values of options."""

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
    """Arguments of a subcommand.

    Args:
        file: The config's file; None where none is given.
        own: Values of the subcommand's own options, as typed.
        values: Values of the config's options, by their keys in the config.
    """

    file: Path | None = None
    own: dict[str, Any] = field(default_factory=dict)
    values: dict[Keys, Any] = field(default_factory=dict)

    def over(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Return a config's data with the options' values merged in."""
        return with_values(data, self.values)

    def say(self, place: Sequence[str | int]) -> bool:
        """Return whether an option sets a value of the config, or a part of it."""
        name = ".".join(map(str, place))
        return any(_overlap(name, each) for each in (*map(".".join, self.values), *self.own))

    def complaint(self, place: Place, message: str, document: Document | None) -> str:
        """Format an error in a value with its option, or with file and line."""
        if document is not None and not self.say(place):
            return str(document.error(place, message))
        return f"--{dotted(place)}: {message}"


def split_arguments(command: Command, words: Sequence[str]) -> Arguments:
    """Split the arguments of a subcommand.

    Raises:
        InputError: An option is unknown, or its value is missing or cannot be read.
    """
    own = {option.name: option.type for option in command.options}
    kinds = options() | own
    found, left = Arguments(), list(words)
    files = [left.pop(0)] if left and not left[0].startswith("-") else []
    while left:
        given = left.pop(0)
        word, equals, value = given.partition("=")
        name = command.short.get(word, word).removeprefix("--")
        kind, inside = _kind_of(name, kinds)
        if name != "config" and (kind is None or not word.startswith("--")):
            known = [f"--{each}" for each in (*own, *kinds)]
            raise InputError(f"unknown option {cut(given)}{near(word, known)}")
        values = [value] if equals else []
        while left and not equals and not left[0].startswith("--"):
            if values and not _is(list, kind):
                break  # options of lists alone take several words
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
    # A run's folder may be given for its config.
    path = Path(files[0]) if files and files[0] else None
    path = path / CONFIG if path is not None and (path / CONFIG).is_file() else path
    return Arguments(path, found.own, found.values)


def with_values(data: Mapping[str, Any], values: Mapping[Keys, Any]) -> dict[str, Any]:
    """Return a config's data with some values replaced."""
    changed = dict(data)
    for (first, *rest), value in values.items():
        inner = changed.get(first)
        known = inner if isinstance(inner, dict) else {}
        changed[first] = with_values(known, {(*rest,): value}) if rest else value
    return changed


def _put(values: dict[Keys, Any], keys: Keys, value: Any) -> None:
    """Set an option's value, over earlier values at its keys and below."""
    if isinstance(value, dict) and section_of(options().get(".".join(keys))) is not None:
        for key, inner in value.items():
            _put(values, (*keys, str(key)), inner)
        return
    for each in [each for each in values if each[: len(keys)] == keys]:
        del values[each]
    values[keys] = value


def _kind_of(name: str, kinds: Mapping[str, Any]) -> tuple[Any, bool]:
    """Return the type of an option, and whether it is inside a mapping such as `space`."""
    if name in kinds:
        return kinds[name], False
    outer = name.rpartition(".")[0]
    kind = _kind_of(outer, kinds)[0] if outer else None
    return (kind, True) if _is(dict, kind) else (None, False)


def _is(wanted: type, kind: Any) -> bool:
    """Return whether a type is the wanted one (list or dict), optional or not."""
    alternatives = get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    return all((get_origin(each) or each) in (wanted, types.NoneType) for each in alternatives)


def _value(name: str, values: list[str], kind: Any) -> Any:
    """Return an option's value for the parser, which converts text by the option's type."""
    if not values:
        return "true"
    if _is(list, kind) and not (len(values) == 1 and values[0].startswith("[")):
        return values
    check_text(f"--{name}", values[0])
    if _is(dict, kind) or section_of(kind) is not None:
        return _loaded(name, values[0])
    return values[0]


def _loaded(name: str, text: str) -> Any:
    """Parse an option's text as YAML into plain values."""
    check_text(f"--{name}", text)
    try:
        return json.loads(json.dumps(get_loader("yaml")(text), default=str))
    except (YAMLError, ValueError, RecursionError):
        raise InputError(f"--{name}: cannot be read: {cut(text)}") from None


def check_text(name: str, text: str) -> None:
    """Refuse text that is nested so deeply that parsing it as YAML would crash the process.

    Raises:
        InputError: The text is too deep; the message begins with `name`.
    """
    try:
        check_size(name, text)
    except (YAMLError, UnicodeEncodeError):
        return  # no YAML, hence plain text


def _overlap(one: str, other: str) -> bool:
    """Return whether two dotted names are equal, or one is inside the other."""
    return f"{one}.".startswith(f"{other}.") or f"{other}.".startswith(f"{one}.")
