"""The values of a command: options of its command line, and those stored by earlier commands."""

from __future__ import annotations

import json
import types
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any, get_args, get_origin

from jsonargparse import get_loader
from yaml import YAMLError

from search.cli.commands import Command
from search.cli.messages import get_option_types, section_of
from search.pipeline.config import FileConfig
from search.pipeline.run_folder import COMMAND_VALUES, CONFIG, MISSING, RunFolder, value_at
from search.study.options import without_password
from search.utils.plain_values import Keys, differences, plain, quote_value
from space.utils.errors import InputError, cut, near
from space.utils.yaml_file import Document, Place, check_size, dotted


@dataclass(frozen=True)
class Arguments:
    """Arguments of a subcommand.

    Args:
        file: The config's file, if any.
        command_values: Values of the subcommand's own options, as typed.
        config_values: Values of the config's options, by their keys in the config.
    """

    file: Path | None = None
    command_values: dict[str, Any] = field(default_factory=dict)
    config_values: dict[Keys, Any] = field(default_factory=dict)

    def sets(self, place: Sequence[str | int]) -> bool:
        """Return whether an option sets a value of the config, or a part of it."""
        name = ".".join(map(str, place)) + "."
        options = (*map(".".join, self.config_values), *self.command_values)
        return any(name.startswith(f"{each}.") or f"{each}.".startswith(name) for each in options)

    def format_error(self, place: Place, message: str, document: Document | None) -> str:
        """Format an error in a value with its option, or with file and line."""
        if document is not None and not self.sets(place):
            return str(document.error(place, message))
        return f"--{dotted(place)}: {message}"


def split_arguments(command: Command, words: Sequence[str]) -> Arguments:
    """Split the arguments of a subcommand.

    Raises:
        InputError: An option is unknown, or its value is missing or cannot be read.
    """
    own_types = {option.name: option.type for option in command.options}
    option_types, rest = own_types | get_option_types(), list(words)
    file = Path(rest.pop(0)) if rest and not rest[0].startswith("-") else None
    if file is not None and (file / CONFIG).is_file():
        # The folder of a run stands for its config.
        file = file / CONFIG
    arguments = Arguments(file)
    while rest:
        argument = rest.pop(0)
        word, equals, value = argument.partition("=")
        name = command.short.get(word, word).removeprefix("--")
        kind = _find_type(name, option_types)
        if kind is None or not word.startswith("--"):
            known = [f"--{each}" for each in option_types]
            raise InputError(f"unknown option {cut(argument)}{near(word, known)}")
        values = [value]
        if not equals:
            # Only options of lists take several words.
            limit = len(rest) if _is_type(list, kind) else 1
            values = list(takewhile(lambda each: not each.startswith("--"), rest[:limit]))
            del rest[: len(values)]
        if not values and kind is not bool:
            raise InputError(f"--{name}: a value is missing")
        value_to_parse = _prepare_value(name, values, kind)
        if name in own_types:
            arguments.command_values[name] = value_to_parse
        else:
            _set_value(arguments.config_values, tuple(name.split(".")), value_to_parse)
    return arguments


def _set_value(values: dict[Keys, Any], keys: Keys, value: Any) -> None:
    """Set an option's value, in place of earlier values at its keys and below."""
    if isinstance(value, dict) and section_of(get_option_types().get(".".join(keys))) is not None:
        for key, inner in value.items():
            _set_value(values, (*keys, str(key)), inner)
        return
    for each in [each for each in values if each[: len(keys)] == keys]:
        del values[each]
    values[keys] = value


def _find_type(name: str, option_types: Mapping[str, Any]) -> Any:
    """Return the type of an option; inside a mapping such as `space`, that of the mapping."""
    if name in option_types:
        return option_types[name]
    outer = name.rpartition(".")[0]
    kind = _find_type(outer, option_types) if outer else None
    return kind if _is_type(dict, kind) else None


def _is_type(container: type, kind: Any) -> bool:
    """Return whether a type is a container (list or dict), optional or not."""
    alternatives = get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    return all((get_origin(each) or each) in (container, types.NoneType) for each in alternatives)


def _prepare_value(name: str, values: list[str], kind: Any) -> Any:
    """Return an option's value for the parser, which converts text by the option's type."""
    if not values:
        return "true"
    text = values[0]
    if _is_type(list, kind) and not (len(values) == 1 and text.startswith("[")):
        return values
    check_text(f"--{name}", text)
    if not _is_type(dict, kind) and section_of(kind) is None:
        return text
    try:
        # Dates and other YAML types become plain values.
        return json.loads(json.dumps(get_loader("yaml")(text), default=str))
    except (YAMLError, ValueError, RecursionError):
        raise InputError(f"--{name}: must be valid YAML, got {cut(text)}") from None


def check_text(name: str, text: str) -> None:
    """Check that text is not nested so deeply that parsing it as YAML would crash the process.

    Raises:
        InputError: The text is nested too deeply; the message begins with `name`.
    """
    try:
        check_size(name, text)
    except (YAMLError, UnicodeEncodeError):
        return  # not YAML, hence plain text


def stored_values(config: FileConfig, file: Path, arguments: Arguments) -> dict[Keys, Any]:
    """Return the run's stored values that are in effect and differ from the config's file.

    Args:
        config: The config, from file and options.
        file: The config's file.
        arguments: Arguments of the command.

    Raises:
        InputError: A file of the run is invalid.
    """
    stored, said = RunFolder(config, file).stored()

    def silent(keys: Keys) -> bool:
        """Return whether neither an option nor an edit of the file sets a value."""
        keys_of_command = (*COMMAND_VALUES, ("run",), ("search", "name"))
        own = any(keys[: len(each)] == each for each in keys_of_command)
        edited = value_at(said, keys) != value_at(config.file_values, keys)
        return not (own or edited or arguments.sets(keys))

    changed = differences(stored, plain(asdict(config)))
    option_keys = dict.fromkeys(_find_option(place) for place, _, _ in changed)
    values = {keys: value_at(stored, keys) for keys in option_keys if keys}
    return {keys: v for keys, v in values.items() if v is not MISSING and silent(keys)}


def describe_values(values: Mapping[Keys, Any]) -> str:
    """Format values as options of a command line."""
    return " ".join(
        f"--{dotted(keys)} {cut(without_password(quote_value(value)))}"
        for keys, value in values.items()
    )


def _find_option(place: Keys) -> Keys:
    """Return the keys of the option that holds a value; empty for keys of other versions."""
    for length in range(1, len(place) + 1):
        kind = get_option_types().get(".".join(place[:length]))
        if kind is not None and (length == len(place) or section_of(kind) is None):
            return place[:length]
    return ()
