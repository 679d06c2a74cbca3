"""Splitting command lines into the config's file and the values of options."""

from __future__ import annotations

import json
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
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
    kinds, left = own | options(), list(words)
    file = Path(left.pop(0)) if left and not left[0].startswith("-") else None
    if file is not None and (file / CONFIG).is_file():
        # A run's folder may be given for its config.
        file = file / CONFIG
    found = Arguments(file)
    while left:
        given = left.pop(0)
        word, equals, value = given.partition("=")
        name = command.short.get(word, word).removeprefix("--")
        kind = _kind_of(name, kinds)
        if kind is None or not word.startswith("--"):
            known = [f"--{each}" for each in kinds]
            raise InputError(f"unknown option {cut(given)}{near(word, known)}")
        values = [value]
        if not equals:
            # Options of lists alone take several words.
            most = len(left) if _is(list, kind) else 1
            values = list(takewhile(lambda each: not each.startswith("--"), left[:most]))
            del left[: len(values)]
        if not values and kind is not bool:
            raise InputError(f"--{name}: a value is missing")
        if name in own:
            found.own[name] = _value(name, values, kind)
        else:
            _put(found.values, tuple(name.split(".")), _value(name, values, kind))
    return found


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


def _kind_of(name: str, kinds: Mapping[str, Any]) -> Any:
    """Return the type of an option; inside a mapping such as `space`, that of the mapping."""
    if name in kinds:
        return kinds[name]
    outer = name.rpartition(".")[0]
    kind = _kind_of(outer, kinds) if outer else None
    return kind if _is(dict, kind) else None


def _is(wanted: type, kind: Any) -> bool:
    """Return whether a type is the wanted one (list or dict), optional or not."""
    alternatives = get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    return all((get_origin(each) or each) in (wanted, types.NoneType) for each in alternatives)


def _value(name: str, values: list[str], kind: Any) -> Any:
    """Return an option's value for the parser, which converts text by the option's type."""
    if not values:
        return "true"
    text = values[0]
    if _is(list, kind) and not (len(values) == 1 and text.startswith("[")):
        return values
    check_text(f"--{name}", text)
    if not _is(dict, kind) and section_of(kind) is None:
        return text
    try:
        # Into plain values.
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
