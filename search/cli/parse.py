"""Parses command lines and configs into typed values; errors name file and line."""

from __future__ import annotations

import argparse
import dataclasses
import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, NoReturn, get_args, get_type_hints

from jsonargparse import ArgumentParser, set_parsing_settings

from search.cli.arguments import Arguments, check_yaml_size, parse_words, stored_values
from search.cli.commands import COMMANDS, Command
from search.cli.messages import explain, get_option_types, section_of
from search.pipeline.config import Config, FileConfig
from search.pipeline.run_folder import (
    RunFolder,
    is_stored_config,
    read_file_values,
    replace_values,
    section,
)
from search.utils.plain_values import Keys
from space.utils.errors import InputError, naming, near, shown
from space.utils.yaml_file import MAX_DEPTH, Document, Place, dotted, read_yaml

# YAML values must not make the parser import or run code outside the three packages.
set_parsing_settings(
    validate_defaults=True,
    import_path_denylist=["*"],
    import_path_allowlist=["space", "supernet", "search"],
    instantiate_subclass_spec_in_any=False,
)

EPILOG = (
    "Every value of the config is also an option, such as --supernet.epochs 50; "
    "tokennas run --help lists them all. An option stays in effect for later commands of the run, "
    "until another option or an edit of the config changes the value; with --search.name, for that "
    "search alone. Device, amp, workers, Ray and formats apply to one command."
)


@dataclass(frozen=True)
class Call:
    """A parsed command line.

    Args:
        command: The subcommand.
        config: Its config with the options applied.
        file: The config's file; None for `inspect --model NAME`.
        options: Values of the subcommand's own options.
        stored_values: Values of the config that were read from the run's folder.
    """

    command: Command
    config: Config
    file: Path | None
    options: dict[str, Any]
    stored_values: dict[Keys, Any] = field(default_factory=dict)


def parse_call(argv: Sequence[str]) -> Call:
    """Parse a command line.

    Raises:
        InputError: The input is invalid; the message names the option, or file, line and key.
        SystemExit: Help or version was printed.
    """
    words = list(argv) or ["--help"]
    if words[0] not in COMMANDS:
        _show_help(words)
    command = COMMANDS[words[0]]
    if not {"-h", "--help"}.isdisjoint(words):
        _make_parser(command.name).parse_args(["--help"])
    arguments = parse_words(command, words[1:])
    if arguments.file is None:
        if command.needs_config:
            raise InputError(
                f"tokennas {command.name} needs a config: tokennas {command.name} CONFIG"
            )
        options, config = _parse(command, arguments, {}, None)
        if not options["model"]:
            raise InputError("tokennas inspect needs a config, or --model NAME")
        return Call(command, config, None, options)
    # Keys of `data.dataset.remap` are integers.
    document = read_yaml(arguments.file, integer_keys=True)
    data = document.data
    if not isinstance(data, dict):
        raise document.error((), "a config must be a mapping of sections")
    _drop_stored(arguments.file, data)
    options, config = _parse(command, arguments, data, document)
    taken: dict[Keys, Any] = {}
    if command.needs_torch:
        config = replace(config, file_values=read_file_values(arguments.file, data))
        taken = stored_values(config, arguments.file, arguments)
    if taken:
        # Parsed again, with stored values of the run over those of the file.
        run = RunFolder(config, arguments.file).path
        with naming(f"{document.path} with the values of {run}"):
            _, merged = _parse(command, arguments, replace_values(data, taken), None)
        config = replace(merged, file_values=config.file_values)
    return Call(command, config, arguments.file, options, taken)


def _drop_stored(file: Path, data: dict[str, Any]) -> None:
    """Drop values from a config's data that earlier versions stored.

    These are `search.racing`, and `amp` where the original file has none: their `true` was for GPUs
    alone.
    """
    search = data.get("search")
    if isinstance(search, dict) and (is_stored_config(file) or search.get("racing") is None):
        search.pop("racing", None)
    if is_stored_config(file):
        original = read_file_values(file, data)
        for name in ("supernet", "retrain"):
            stored = section(data, name)
            if "amp" not in section(original, name) and stored.get("amp") is True:
                del stored["amp"]


def _parse(
    command: Command, arguments: Arguments, data: dict[str, Any], document: Document | None
) -> tuple[dict[str, Any], FileConfig]:
    """Return the values of the subcommand's own options, and the config with the options applied.

    Args:
        command: The subcommand.
        arguments: Its arguments.
        data: The config's data.
        document: The config's file, for line numbers; None if the data differ from it.
    """
    values = replace_values(data, arguments.config_values)
    errors = [arguments.format_error(*each, document) for each in _find_errors(values, Config, ())]
    if errors:
        raise InputError(*errors)
    for place, text in _iterate_texts(data):
        if len(text) > MAX_DEPTH:
            check_yaml_size(f"{arguments.file}: {dotted(place)}", text)
    parser = _make_parser(command.name)
    try:
        parsed = parser.instantiate(parser.parse_object({**values, **arguments.own_options}))
        fields = {field.name: parsed[field.name] for field in dataclasses.fields(Config)}
        config = FileConfig(**fields)
        if command.needs_torch and arguments.file is not None:
            # Imported here: torch and timm take seconds to load.
            from supernet.training.optimizer import check_optimizer  # noqa: PLC0415

            for recipe in (config.supernet, config.retrain):
                check_optimizer(recipe)
    except argparse.ArgumentError as error:
        place, message = explain(str(error))
        text = arguments.format_error(place, message, document) if place else message
        raise InputError(text) from None
    except InputError as error:
        # Raised by a section's `__post_init__`.
        name, _, message = str(error).partition(": ")
        place = (*name.split("."),)
        if name in get_option_types() and document is not None and not arguments.sets(place[:1]):
            raise document.error(place, message) from None
        raise
    return {option.name: parsed[option.name] for option in command.options}, config


def _find_errors(data: Any, kind: Any, place: Place) -> Iterator[tuple[Place, str]]:
    """Iterate over unknown keys, sections that are not mappings, and nulls: place and error.

    The parser accepts null for a value of any type.
    """
    if data is None and kind is not Any and types.NoneType not in get_args(kind):
        yield place, "must not be null; leave the key out for the default"
        return
    kind = section_of(kind)
    if kind is None or data is None:
        return
    known = [field.name for field in dataclasses.fields(kind)]
    if not isinstance(data, dict):
        # The parser would read text as the name of another config file, without these checks.
        yield place, f"must be a mapping of {', '.join(known)}, got {shown(data)}"
        return
    hints = get_type_hints(kind)
    for key, value in data.items():
        if key in known:
            yield from _find_errors(value, hints[key], (*place, key))
        else:
            yield (*place, key), f"unknown key{near(str(key), known)}"


def _iterate_texts(data: Any, place: Place = ()) -> Iterator[tuple[Place, str]]:
    """Iterate over the strings of a tree of plain values: place and text."""
    if isinstance(data, str):
        yield place, data
    elif isinstance(data, dict | list):
        for key, value in data.items() if isinstance(data, dict) else enumerate(data):
            yield from _iterate_texts(value, (*place, key))


@cache
def _make_parser(name: str) -> ArgumentParser:
    """Make the parser of a command's options and config."""
    command = COMMANDS[name]
    parser = ArgumentParser(
        description=command.description,
        usage=f"tokennas {command.name} {command.usage}",
        epilog=EPILOG,
        exit_on_error=False,
        allow_abbrev=False,
    )
    for option in command.options:
        parser.add_argument(f"--{option.name}", type=option.type, default=None, help=option.help)
    parser.add_class_arguments(Config)
    visible = ("run", "seed", "device", *command.sections)
    for action in parser._actions:
        # The help leaves out sections that the command does not use.
        in_config = action.dest.split(".")[0] in Config.__dataclass_fields__
        hidden = in_config and not any(f"{action.dest}.".startswith(f"{e}.") for e in visible)
        if hidden or action.dest.endswith(".help"):  # the parser's own, not an option here
            action.help = argparse.SUPPRESS
        elif action.metavar == "CONFIG":  # that of whole sections
            action.metavar, action.help = "VALUES", "Several values of the section: '{key: value}'"
    return parser


def _show_help(words: list[str]) -> NoReturn:
    """Print the help of all commands or the version.

    Raises:
        InputError: The command is unknown.
        SystemExit: Help or version was printed.
    """
    from importlib.metadata import version  # noqa: PLC0415 - would add 20 ms to each start

    commands = "\n".join(f"  {each.name:<10}{each.help}" for each in COMMANDS.values())
    parser = argparse.ArgumentParser(
        prog="tokennas",
        usage="tokennas COMMAND CONFIG [--section.key VALUE ...]",
        description="Finds the most accurate Vision Transformer within a budget.",
        epilog=f"commands, each with its own --help:\n{commands}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {version('tokennas')}")
    if words[0].startswith("-"):
        parser.parse_known_args(words)
    raise InputError(f"unknown command {shown(words[0])}; must be one of {', '.join(COMMANDS)}")
