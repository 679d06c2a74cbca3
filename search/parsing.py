"""Command lines and configs, read into typed values; what is wrong is told by file and line."""

from __future__ import annotations

import dataclasses
import types
from argparse import SUPPRESS, ArgumentError
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, cast, get_args, get_origin, get_type_hints

from jsonargparse import ArgumentParser, Namespace, set_parsing_settings
from yaml import YAMLError

from search.arguments import (
    add_true,
    config_file,
    config_option,
    join_lists,
    long_names,
    whole_operators,
)
from search.commands import COMMANDS, Command
from search.complaints import explain, placed, section_of
from search.config import Config, FileConfig
from search.folder import RunFolder, values_of_file
from search.plain import Keys
from search.stored import stored_values, with_config, with_values
from space.utils.errors import InputError, near, shown
from space.utils.yaml_file import MOST_DEPTH, Document, Place, check_size, dotted, read_yaml

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
    arguments = add_true(join_lists(long_names(config_option(list(argv) or ["--help"]))))
    file = config_file(arguments)
    document = None if file is None else read_yaml(file)
    if document is not None:
        check_keys(document)
    _check_sizes(arguments, document)
    arguments = whole_operators(arguments, document and document.data)
    call = _read_call(arguments, file, document)
    if document is None or call.config is None or call.command.name in NAMES_ALONE:
        return call
    return _with_stored(call, arguments, document)


def _read_call(arguments: list[str], file: Path | None, document: Document | None) -> Call:
    """What the arguments ask for; `document` is what the config's file holds."""
    parser = _parser(arguments[0])
    try:
        parsed = parser.parse_args(arguments)
        _check_given(parsed[parsed.subcommand], Config)
        made = parser.instantiate(parsed)
        values: Namespace = made[made.subcommand]
        fields = {field.name: values[field.name] for field in dataclasses.fields(Config)}
        config = FileConfig(**fields) if file is not None else None
        if config is not None and COMMANDS[made.subcommand].needs_torch:
            _check_optimizers(config)
    except ArgumentError as error:
        raise InputError(explain(str(error), document, arguments)) from None
    except InputError as error:
        raise InputError(placed(str(error), document, arguments)) from None
    command = COMMANDS[made.subcommand]
    own = {option.name: values[option.name] for option in command.options}
    if config is None:
        if command.needs_config:
            raise InputError(
                f"tokennas {command.name} needs a config: tokennas {command.name} FILE"
            )
        own["args"] = fields["backbone"].args  # of the model that is named in a config's place
    return Call(command, config, file, own)


def _with_stored(call: Call, arguments: list[str], document: Document) -> Call:
    """The call with what its command line leaves to the run, see `stored_values`."""
    said = values_of_file(document.path, document.data)
    config = replace(cast(FileConfig, call.config), file_values=said)
    taken = stored_values(config, document.path, arguments)
    if taken:
        data = with_values(document.data, taken)
        _check_sizes([], document._replace(data=data))
        try:
            again = _read_call(with_config(arguments, data), call.file, None)
        except InputError as error:
            run = RunFolder(config, call.file).path
            raise InputError(f"{document.path} with the values of {run}: {error}") from None
        config = replace(cast(FileConfig, again.config), file_values=said)
    return replace(call, config=config, taken=taken)


def _check_optimizers(config: Config) -> None:
    # What status and --help can do without: torch and timm take seconds to load.
    from supernet.training.optimizer import check_optimizer  # noqa: PLC0415

    for recipe in (config.supernet, config.retrain):
        check_optimizer(recipe)


def check_keys(document: Document) -> None:
    """Refuse unknown keys and sections that are none, as many at once as people read.

    Raises:
        InputError: one line a key.
    """
    if not isinstance(document.data, dict):
        raise document.error((), "a config must be a mapping of sections")
    wrong = [str(document.error(*each)) for each in _wrong(document.data, Config, ())]
    if wrong:
        more = [f"{document.path}: {len(wrong) - MOST_TOLD} more"] * (len(wrong) > MOST_TOLD)
        raise InputError(*wrong[:MOST_TOLD], *more)


def _wrong(data: Any, kind: Any, place: Place) -> Iterator[tuple[Place, str]]:
    """The places of unknown keys and of what is no section, and what is wrong there."""
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


def _check_sizes(arguments: list[str], document: Document | None) -> None:
    """Refuse text so deep that reading it would end the process: the parser takes it for YAML."""
    texts = [argument.rpartition("=")[::2] for argument in arguments]
    if document is not None:
        texts += [(f"{document.path}: {dotted(at)}", text) for at, text in _texts(document.data)]
    for name, text in texts:
        if len(text) > MOST_DEPTH:
            with suppress(YAMLError, UnicodeEncodeError):  # text as good as any
                check_size(name or "options", text)


def _texts(data: Any, place: Place = ()) -> Iterator[tuple[Place, str]]:
    """Every text in a tree of plain values."""
    if isinstance(data, str):
        yield place, data
    elif isinstance(data, dict | list):
        for key, value in data.items() if isinstance(data, dict) else enumerate(data):
            yield from _texts(value, (*place, key))


def _check_given(values: Any, kind: Any, place: Place = ()) -> None:
    """Refuse nothing where something is needed; the parser takes it for any type."""
    for name, hint in get_type_hints(kind).items():
        if get_origin(hint) is ClassVar:
            continue
        here, value, section = (*place, name), values[name], section_of(hint)
        if value is None and types.NoneType not in get_args(hint):
            raise InputError(f"{dotted(here)}: nothing is given; without the key it has a default")
        if value is not None and section is not None:
            if not isinstance(value, Namespace):
                raise InputError(f"{dotted(here)}: must be a mapping, got {shown(value)}")
            _check_given(value, section, here)


@cache
def _parser(name: str) -> ArgumentParser:
    """The parser of all commands, of which the one of that name alone is filled: it takes time."""
    parser = ArgumentParser(
        prog="tokennas",
        description="Finds the most accurate Vision Transformer inside a budget.",
        usage="tokennas COMMAND CONFIG [--section.key VALUE ...]",
        exit_on_error=False,
        allow_abbrev=False,
        version=_version(),
    )
    commands = parser.add_subcommands(metavar="COMMAND")
    for command in COMMANDS.values():
        sub = ArgumentParser(
            description=command.teaches,
            usage=f"tokennas {command.name} {command.usage}",
            epilog=EPILOG,
            exit_on_error=False,
            allow_abbrev=False,
        )
        sub.add_argument("--config", action="config", help="CONFIG, as an option")
        if command.name == name:
            for option in command.options:
                kind, text = option.type, option.help
                sub.add_argument(f"--{option.name}", type=kind, default=None, help=text)
            sub.add_class_arguments(Config)
            _show_only(sub, command)
        commands.add_subcommand(command.name, sub, help=command.help)
    return parser


def _show_only(parser: ArgumentParser, command: Command) -> None:
    """Leave the values of stages that a command does not run out of its help."""
    shown = ("run", "seed", "device", *command.sections)
    for action in parser._actions:
        known = action.dest.split(".")[0] in Config.__dataclass_fields__
        if known and not any(f"{action.dest}.".startswith(f"{each}.") for each in shown):
            action.help = SUPPRESS


def _version() -> str:
    from importlib.metadata import version  # noqa: PLC0415 - costs 20 ms of each start

    return version("tokennas")
