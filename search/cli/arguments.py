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
from search.pipeline.run_folder import CONFIG, MISSING, UNSTORED_KEYS, RunFolder, value_at
from search.study.options import without_password
from search.utils.plain_values import Keys, differences, plain, quote_value
from space.utils.errors import InputError, cut, near
from space.utils.yaml_file import Document, Place, check_size, dotted


@dataclass(frozen=True)
class Arguments:
    """Arguments of a subcommand.

    Args:
        file: The config's file, if any.
        own_options: Values of the subcommand's own options, as text.
        config_values: Values of the config's options, by their keys in the config.
    """

    file: Path | None = None
    own_options: dict[str, Any] = field(default_factory=dict)
    config_values: dict[Keys, Any] = field(default_factory=dict)

    def sets(self, place: Sequence[str | int]) -> bool:
        """Return whether an option sets the value at `place`, one inside it, or one around it."""
        name = ".".join(map(str, place)) + "."
        options = (*map(".".join, self.config_values), *self.own_options)
        return any(name.startswith(f"{each}.") or f"{each}.".startswith(name) for each in options)

    def format_error(self, place: Place, message: str, document: Document | None) -> str:
        """Format an error in a value with its option, or with file and line."""
        if document is not None and not self.sets(place):
            return str(document.error(place, message))
        return f"--{dotted(place)}: {message}"


def parse_words(command: Command, words: Sequence[str]) -> Arguments:
    """Parse the words after a subcommand into the config's file and the options.

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
            what = "unknown option" if word.startswith("-") else "unexpected argument"
            raise InputError(f"{what} {cut(argument)}{near(word, known)}")
        values = [value]
        if not equals:
            # Only options of lists take several words.
            limit = len(rest) if _is_container(list, kind) else 1
            values = list(takewhile(lambda each: not each.startswith("--"), rest[:limit]))
            del rest[: len(values)]
        if not values and bool not in (kind, *get_args(kind)):
            raise InputError(f"--{name}: a value is missing")
        value_to_parse = _prepare_value(name, values, kind)
        if name in own_types:
            arguments.own_options[name] = value_to_parse
        else:
            _set_value(arguments.config_values, tuple(name.split(".")), value_to_parse)
    return arguments


def _set_value(values: dict[Keys, Any], keys: Keys, value: Any) -> None:
    """Set an option's value, in place of earlier values at its keys and below."""
    if isinstance(value, dict) and section_of(get_option_types().get(".".join(keys))) is not None:
        # A mapping for a section sets its keys one by one.
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
    return kind if _is_container(dict, kind) else None


def _is_container(container: type, kind: Any) -> bool:
    """Return whether a type is a container (list or dict), optional or not."""
    alternatives = get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    return all((get_origin(each) or each) in (container, types.NoneType) for each in alternatives)


def _prepare_value(name: str, values: list[str], kind: Any) -> Any:
    """Return an option's value for the parser, which converts text by the option's type."""
    if not values:  # a flag
        return "true"
    text = values[0]
    if _is_container(list, kind) and not (len(values) == 1 and text.startswith("[")):
        return values
    check_yaml_size(f"--{name}", text)
    if not _is_container(dict, kind) and section_of(kind) is None:
        return text
    try:
        # Dates and other YAML types become plain values.
        return json.loads(json.dumps(get_loader("yaml")(text), default=str))
    except (YAMLError, ValueError, RecursionError):
        raise InputError(f"--{name}: must be valid YAML, got {cut(text)}") from None


def check_yaml_size(name: str, text: str) -> None:
    """Check that text is not so deep or long that parsing it as YAML would crash the process.

    Raises:
        InputError: The text is too deep or has too many values; the message begins with `name`.
    """
    try:
        check_size(name, text)
    except (YAMLError, UnicodeEncodeError):
        return  # not YAML, hence plain text


def stored_values(config: FileConfig, file: Path, arguments: Arguments) -> dict[Keys, Any]:
    """Return the run's stored values that replace those of the config.

    They differ from the config, and neither an option nor an edit of its file sets them.

    Args:
        config: The config, from file and options.
        file: The config's file.
        arguments: Arguments of the command.

    Raises:
        InputError: A file of the run is invalid.
    """
    stored, earlier_file = RunFolder(config, file).stored()

    def is_set(keys: Keys) -> bool:
        """Return whether an option or an edit of the file sets a value, or no run stores it."""
        unstored_keys = (*UNSTORED_KEYS, ("run",), ("search", "name"))
        unstored = any(keys[: len(each)] == each for each in unstored_keys)
        edited = value_at(earlier_file, keys) != value_at(config.file_values, keys)
        return unstored or edited or arguments.sets(keys)

    changed = differences(stored, plain(asdict(config)))
    option_keys = dict.fromkeys(_find_option(place) for place, _, _ in changed)
    values = {keys: value_at(stored, keys) for keys in option_keys if keys}
    return {keys: v for keys, v in values.items() if v is not MISSING and not is_set(keys)}


def format_options(values: Mapping[Keys, Any]) -> str:
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
