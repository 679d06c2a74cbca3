"""Parsing command lines and configs into typed values; errors name file and line."""

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

from search.cli.arguments import Arguments, check_text, split_arguments, with_values
from search.cli.commands import COMMANDS, Command
from search.cli.messages import explain, options, section_of
from search.cli.stored_options import stored_values
from search.pipeline.config import Config, FileConfig
from search.pipeline.run_folder import RunFolder, is_stored_config, read_file_values
from search.utils.plain_values import Keys
from space.utils.errors import InputError, naming, near, shown
from space.utils.yaml_file import MOST_DEPTH, Document, Place, dotted, read_yaml

# YAML values must not make the parser import or run code outside the three packages.
set_parsing_settings(
    validate_defaults=True,
    import_path_denylist=["*"],
    import_path_allowlist=["space", "supernet", "search"],
    instantiate_subclass_spec_in_any=False,
)

EPILOG = (
    "Every value of the config is an option too, such as --supernet.epochs 50: "
    "tokennas run --help shows them all. Later commands of the run take an option as given, until "
    "another option, or an edit of the value in the config, says otherwise; given with "
    "--search.name, only for that search. Device, workers, Ray and formats are for one command."
)


@dataclass(frozen=True)
class Call:
    """A parsed command line.

    Args:
        command: The subcommand.
        config: Its config with the options applied; None where none is given.
        file: The config's file.
        options: Values of the subcommand's own options.
        taken: Values of the config that come from the run's folder, see `stored_values`.
    """

    command: Command
    config: Config | None
    file: Path | None
    options: dict[str, Any]
    taken: dict[Keys, Any] = field(default_factory=dict)


def parse_call(argv: Sequence[str]) -> Call:
    """Parse a command line.

    Raises:
        InputError: The input is wrong; the message names the option, or file, line and key.
        SystemExit: Help or version was printed.
    """
    words = list(argv) or ["--help"]
    if words[0] not in COMMANDS:
        _show_help(words)
    command = COMMANDS[words[0]]
    if not {"-h", "--help"}.isdisjoint(words):
        _parser(command.name).parse_args(["--help"])
    arguments = split_arguments(command, words[1:])
    if arguments.file is None:
        if command.needs_config:
            raise InputError(
                f"tokennas {command.name} needs a config: tokennas {command.name} FILE"
            )
        own, config = _parse(command, arguments, {}, None)
        # `inspect --model NAME`
        return Call(command, None, None, {**own, "args": config.backbone.args})
    document = read_yaml(arguments.file)
    data = document.data
    if not isinstance(data, dict):
        raise document.error((), "a config must be a mapping of sections")
    _drop_racing(arguments.file, data)
    own, config = _parse(command, arguments, data, document)
    taken: dict[Keys, Any] = {}
    if command.needs_torch:
        config = replace(config, file_values=read_file_values(arguments.file, data))
        taken = stored_values(config, arguments.file, arguments)
    if taken:
        # Parsed again, with stored values of the run over those of the file.
        run = RunFolder(config, arguments.file).path
        with naming(f"{document.path} with the values of {run}"):
            _, again = _parse(command, arguments, with_values(data, taken), None)
        config = replace(again, file_values=config.file_values)
    return Call(command, config, arguments.file, own, taken)


def _drop_racing(file: Path, data: dict[str, Any]) -> None:
    """Drop `search.racing` from a config's data, which earlier versions stored."""
    search = data.get("search")
    if isinstance(search, dict) and (is_stored_config(file) or search.get("racing") is None):
        search.pop("racing", None)


def _parse(
    command: Command, arguments: Arguments, data: dict[str, Any], document: Document | None
) -> tuple[dict[str, Any], FileConfig]:
    """Return the values of the subcommand's own options, and the config with the options applied.

    Args:
        command: The subcommand.
        arguments: Its arguments.
        data: The config's data.
        document: The config's file, for line numbers; None where the data differ from it.
    """
    values = with_values(data, arguments.values)
    wrong = [arguments.complaint(*each, document) for each in _wrong(values, Config, ())]
    if wrong:
        raise InputError(*wrong)
    for place, text in _texts(data):
        if len(text) > MOST_DEPTH:
            check_text(f"{arguments.file}: {dotted(place)}", text)
    parser = _parser(command.name)
    try:
        made = parser.instantiate(parser.parse_object({**values, **arguments.own}))
        fields = {field.name: made[field.name] for field in dataclasses.fields(Config)}
        config = FileConfig(**fields)
        if command.needs_torch and arguments.file is not None:
            # Imported here: torch and timm take seconds to load.
            from supernet.training.optimizer import check_optimizer  # noqa: PLC0415

            for recipe in (config.supernet, config.retrain):
                check_optimizer(recipe)
    except argparse.ArgumentError as error:
        place, message = explain(str(error))
        whole = arguments.complaint(place, message, document) if place else message
        raise InputError(whole) from None
    except InputError as error:
        # Raised by a section's `__post_init__`.
        name, _, message = str(error).partition(": ")
        place = (*name.split("."),)
        if name in options() and document is not None and not arguments.say(place[:1]):
            raise document.error(place, message) from None
        raise
    return {option.name: made[option.name] for option in command.options}, config


def _wrong(data: Any, kind: Any, place: Place) -> Iterator[tuple[Place, str]]:
    """Yield place and error of unknown keys, of sections that are no mapping, and of nulls.

    The parser accepts null for a value of any type.
    """
    if data is None and kind is not Any and types.NoneType not in get_args(kind):
        yield place, "nothing is given; without the key it has a default"
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
            yield from _wrong(value, hints[key], (*place, key))
        else:
            yield (*place, key), f"unknown key{near(str(key), known)}"


def _texts(data: Any, place: Place = ()) -> Iterator[tuple[Place, str]]:
    """Yield place and text of every string in a tree of plain values."""
    if isinstance(data, str):
        yield place, data
    elif isinstance(data, dict | list):
        for key, value in data.items() if isinstance(data, dict) else enumerate(data):
            yield from _texts(value, (*place, key))


@cache
def _parser(name: str) -> ArgumentParser:
    """Make the parser of a command's options and config."""
    command = COMMANDS[name]
    parser = ArgumentParser(
        description=command.teaches,
        usage=f"tokennas {command.name} {command.usage}",
        epilog=EPILOG,
        exit_on_error=False,
        allow_abbrev=False,
    )
    for option in command.options:
        parser.add_argument(f"--{option.name}", type=option.type, default=None, help=option.help)
    parser.add_class_arguments(Config)
    shown = ("run", "seed", "device", *command.sections)
    for action in parser._actions:
        # The help leaves out sections that the command does not use.
        known = action.dest.split(".")[0] in Config.__dataclass_fields__
        if known and not any(f"{action.dest}.".startswith(f"{each}.") for each in shown):
            action.help = argparse.SUPPRESS
        elif action.dest.endswith(".help"):
            action.help = argparse.SUPPRESS  # the parser's own, which is no option here
        elif section_of(options().get(action.dest)) is not None and action.metavar == "CONFIG":
            action.metavar, action.help = "VALUES", "several values of the section: '{key: value}'"
    return parser


def _show_help(words: list[str]) -> NoReturn:
    """Print the help of all commands or the version, or refuse an unknown command.

    Raises:
        InputError: The command is unknown.
        SystemExit: Help or version was printed.
    """
    from importlib.metadata import version  # noqa: PLC0415 - costs 20 ms of each start

    commands = "\n".join(f"  {each.name:<10}{each.help}" for each in COMMANDS.values())
    parser = argparse.ArgumentParser(
        prog="tokennas",
        usage="tokennas COMMAND CONFIG [--section.key VALUE ...]",
        description="Finds the most accurate Vision Transformer inside a budget.",
        epilog=f"commands, of which each has a --help of its own:\n{commands}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {version('tokennas')}")
    parser.parse_known_args(words)
    raise InputError(f"tokennas has no command {shown(words[0])}; these are: {', '.join(COMMANDS)}")
