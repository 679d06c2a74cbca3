"""Command lines and configs, read into typed values; what is wrong is told by file and line."""

from __future__ import annotations

import dataclasses
import types
from argparse import SUPPRESS, ArgumentError
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
from search.pipeline.run_folder import RunFolder, values_of_file
from search.utils.plain_values import Keys
from space.utils.errors import InputError, naming, near, shown
from space.utils.reader import Reader
from space.utils.yaml_file import MOST_DEPTH, Document, Place, dotted, read_yaml

# A YAML value may never make the parser import or run what it names outside the three packages.
set_parsing_settings(
    validate_defaults=True,
    import_path_denylist=["*"],
    import_path_allowlist=["space", "supernet", "search"],
    instantiate_subclass_spec_in_any=False,
)

MOST_TOLD = 20
# Commands that need no value of a config but which run and which search are meant.
NAMES_ALONE = ("status", "report")
EPILOG = (
    "Every value of the config is an option too, such as --supernet.epochs 50: "
    "tokennas run --help shows them all. Later commands of the run take an option as given, until "
    "another option, or an edit of the value in the config, says otherwise; given with "
    "--search.name, only for that search. Device, workers, Ray and formats are for one command."
)


@dataclass(frozen=True)
class Call:
    """What a command line asks for.

    Args:
        command: the subcommand.
        config: its config with the options applied; None where a command was given none.
        file: the config's file.
        options: the subcommand's own options.
        taken: values of the config that are the run's, see `stored_values`.
    """

    command: Command
    config: Config | None
    file: Path | None
    options: dict[str, Any]
    taken: dict[Keys, Any] = field(default_factory=dict)


def parse_call(argv: Sequence[str]) -> Call:
    """Read a command line.

    Raises:
        InputError: naming the option, or file, line and key, and what would be right.
        SystemExit: after --help and --version.
    """
    words = list(argv) or ["--help"]
    if words[0] not in COMMANDS or not {"-h", "--help"}.isdisjoint(words):
        _show_help(words)
    command = COMMANDS[words[0]]
    arguments = split_arguments(command, words[1:])
    if arguments.file is None:
        if command.needs_config:
            raise InputError(
                f"tokennas {command.name} needs a config: tokennas {command.name} FILE"
            )
        own, config = _parse(command, arguments, {}, None)
        # In a config's place a model is named.
        return Call(command, None, None, {**own, "args": config.backbone.args})
    document = read_yaml(arguments.file)
    own, config = _parse(command, arguments, document.data, document)
    taken: dict[Keys, Any] = {}
    if command.name not in NAMES_ALONE:
        config = replace(config, file_values=values_of_file(arguments.file, document.data))
        taken = stored_values(config, arguments.file, arguments)
    if taken:
        run = RunFolder(config, arguments.file).path
        with naming(f"{document.path} with the values of {run}"):
            _, again = _parse(command, arguments, with_values(document.data, taken), None)
        config = replace(again, file_values=config.file_values)
    return Call(command, config, arguments.file, own, taken)


def _parse(
    command: Command, arguments: Arguments, data: Any, document: Document | None
) -> tuple[dict[str, Any], FileConfig]:
    """The subcommand's own options, and a config's data with the options over them, typed.

    Args:
        command: The subcommand.
        arguments: What follows it.
        data: What the config holds.
        document: The config's file, where the data are as it says.
    """
    if not isinstance(data, dict):
        raise Reader(data, (), document).error("a config must be a mapping of sections")
    values = arguments.over(data)
    wrong = [arguments.complaint(*each, document) for each in _wrong(values, Config, ())]
    if wrong:
        more = [f"{arguments.file}: {len(wrong) - MOST_TOLD} more"] * (len(wrong) > MOST_TOLD)
        raise InputError(*wrong[:MOST_TOLD], *more)
    for place, text in _texts(data):
        if len(text) > MOST_DEPTH:
            check_text(f"{arguments.file}: {dotted(place)}", text)
    parser = _parser(command.name)
    try:
        made = parser.instantiate(parser.parse_object({**values, **arguments.own}))
        fields = {field.name: made[field.name] for field in dataclasses.fields(Config)}
        config = FileConfig(**fields)
        if command.needs_torch and arguments.file is not None:
            _check_optimizers(config)
    except ArgumentError as error:
        place, message = explain(str(error))
        whole = arguments.complaint(place, message, document) if place else message
        raise InputError(whole) from None
    except InputError as error:
        # A section's own complaint.
        name, _, message = str(error).partition(": ")
        place = (*name.split("."),)
        if name in options() and document is not None and not arguments.say(place[:1]):
            raise document.error(place, message) from None
        raise
    return {option.name: made[option.name] for option in command.options}, config


def _check_optimizers(config: Config) -> None:
    # What status and --help can do without: torch and timm take seconds to load.
    from supernet.training.optimizer import check_optimizer  # noqa: PLC0415

    for recipe in (config.supernet, config.retrain):
        check_optimizer(recipe)


def _wrong(data: Any, kind: Any, place: Place) -> Iterator[tuple[Place, str]]:
    """The places of what no config holds: unknown keys, other values where sections are, nothing.

    Where something is needed, the parser takes nothing for a value of any type.
    """
    if data is None and kind is not Any and types.NoneType not in get_args(kind):
        yield place, "nothing is given; without the key it has a default"
        return
    kind = section_of(kind)
    if kind is None or data is None:
        return
    known = [field.name for field in dataclasses.fields(kind)]
    if not isinstance(data, dict):
        # Text would be taken for the name of another file, which nobody has checked.
        yield place, f"must be a mapping of {', '.join(known)}, got {shown(data)}"
        return
    hints = get_type_hints(kind)
    for key, value in data.items():
        if key in known:
            yield from _wrong(value, hints[key], (*place, key))
        else:
            yield (*place, key), f"unknown key{near(str(key), known)}"


def _texts(data: Any, place: Place = ()) -> Iterator[tuple[Place, str]]:
    """Every text in a tree of plain values."""
    if isinstance(data, str):
        yield place, data
    elif isinstance(data, dict | list):
        for key, value in data.items() if isinstance(data, dict) else enumerate(data):
            yield from _texts(value, (*place, key))


@cache
def _parser(name: str) -> ArgumentParser:
    """The parser of a command's values."""
    command = COMMANDS[name]
    parser = ArgumentParser(
        description=command.teaches,
        usage=f"tokennas {command.name} {command.usage}",
        epilog=EPILOG,
        exit_on_error=False,
        allow_abbrev=False,
    )
    parser.add_argument("--config", action="config", help="CONFIG, as an option")
    for option in command.options:
        parser.add_argument(f"--{option.name}", type=option.type, default=None, help=option.help)
    parser.add_class_arguments(Config)
    shown = ("run", "seed", "device", *command.sections)
    for action in parser._actions:
        # The values of stages that a command does not run are left out of its help.
        known = action.dest.split(".")[0] in Config.__dataclass_fields__
        if known and not any(f"{action.dest}.".startswith(f"{each}.") for each in shown):
            action.help = SUPPRESS
    return parser


def _show_help(words: list[str]) -> NoReturn:
    """Print what --help and --version ask for, or refuse what is no command.

    Raises:
        InputError: there is no such command.
        SystemExit: it was printed.
    """
    from importlib.metadata import version  # noqa: PLC0415 - costs 20 ms of each start

    parser = ArgumentParser(
        prog="tokennas",
        description="Finds the most accurate Vision Transformer inside a budget.",
        usage="tokennas COMMAND CONFIG [--section.key VALUE ...]",
        exit_on_error=False,
        allow_abbrev=False,
        version=version("tokennas"),
    )
    commands = parser.add_subcommands(metavar="COMMAND")
    for command in COMMANDS.values():
        filled = command.name == words[0]
        sub = _parser(command.name) if filled else ArgumentParser(description=command.teaches)
        commands.add_subcommand(command.name, sub, help=command.help)
    try:
        parser.parse_args([*words[:1], "--help"] if words[0] in COMMANDS else words)
    except ArgumentError as error:
        raise InputError(explain(str(error))[1]) from None
    raise InputError(f"tokennas has no command {shown(words[0])}; these are: {', '.join(COMMANDS)}")
