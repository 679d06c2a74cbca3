"""Command lines and configs, read into typed values; what is wrong is told by file and line."""

from __future__ import annotations

import dataclasses
import re
import types
from argparse import SUPPRESS, ArgumentError
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Union, get_args, get_origin, get_type_hints

from jsonargparse import ArgumentParser, Namespace, set_parsing_settings

from search.commands import COMMANDS, Command
from search.config import Config
from space.errors import InputError, near
from space.yamlfile import Document, Place, dotted, read_yaml

# A YAML value may never make the parser import or run what it names outside the three packages.
set_parsing_settings(
    docstring_parse_attribute_docstrings=True,
    validate_defaults=True,
    import_path_denylist=["*"],
    import_path_allowlist=["space", "supernet", "search"],
    instantiate_subclass_spec_in_any=False,
)

KINDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "list": "a list such as [a, b]",
    "dict": "a mapping such as {a: 1}",
}
EPILOG = (
    "Every value of the config is an option too, such as --supernet.epochs 50: "
    "tokennas run --help shows them all."
)


@dataclass(frozen=True)
class Call:
    """What a command line asks for.

    Args:
        command: the subcommand.
        config: its config with the options applied; None where a command was given none.
        file: the config's file.
        options: the subcommand's own options.
    """

    command: Command
    config: Config | None
    file: Path | None
    options: dict[str, Any]


def parse_call(argv: Sequence[str]) -> Call:
    """Read a command line.

    Raises:
        InputError: naming the option, or file, line and key, and what would be right.
        SystemExit: after --help and --version.
    """
    parser, arguments = _parser(), _listed(_config_option(list(argv) or ["--help"]))
    file = _config_file(arguments)
    document = None if file is None else read_yaml(file)
    if document is not None:
        check_keys(document)
    try:
        parsed = parser.parse_args(arguments)
        made = parser.instantiate(parsed)
    except ArgumentError as error:
        raise InputError(_explain(str(error), document, arguments)) from None
    command = COMMANDS[made.subcommand]
    values: Namespace = made[command.name]
    options = {option.name: values[option.name] for option in command.options}
    fields = {field.name: values[field.name] for field in dataclasses.fields(Config)}
    config = Config(**fields) if file is not None else None
    if config is None and command.needs_config:
        raise InputError(f"tokennas {command.name} needs a config: tokennas {command.name} FILE")
    return Call(command, config, file, options)


def check_keys(document: Document) -> None:
    """Refuse unknown keys, all of them at once.

    Raises:
        InputError: one line a key.
    """
    if not isinstance(document.data, dict):
        raise document.error((), "a config must be a mapping of sections")
    wrong = [
        str(document.error(place, f"unknown key{near(str(place[-1]), known)}"))
        for place, known in _unknown(document.data, Config, ())
    ]
    if wrong:
        raise InputError(*wrong)


def _unknown(data: Any, kind: Any, place: Place) -> Iterator[tuple[Place, list[str]]]:
    """The places of unknown keys, and the keys that are known there."""
    kind = _dataclass_of(kind)
    if kind is None or not isinstance(data, dict):
        return
    hints = get_type_hints(kind)
    known = [field.name for field in dataclasses.fields(kind)]
    for key, value in data.items():
        if key in known:
            yield from _unknown(value, hints[key], (*place, key))
        else:
            yield (*place, key), known


def _is_list(kind: Any) -> bool:
    """Whether a type is a list, or a list or nothing."""
    options = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
    return all(get_origin(option) is list or option is types.NoneType for option in options)


def _dataclass_of(kind: Any) -> Any:
    """The dataclass behind a type, optional or not."""
    options = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
    return next((option for option in options if dataclasses.is_dataclass(option)), None)


@cache
def _parser() -> ArgumentParser:
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
        for option in command.options:
            sub.add_argument(f"--{option.name}", type=option.type, default=None, help=option.help)
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


def _options(kind: Any = Config, prefix: str = "--") -> dict[str, Any]:
    """All options that the values of a config are, and their types."""
    found: dict[str, Any] = {}
    for name, hint in get_type_hints(kind).items():
        if get_origin(hint) is ClassVar:
            continue
        found[prefix + name] = hint
        inner = _dataclass_of(hint)
        found |= {} if inner is None else _options(inner, f"{prefix}{name}.")
    return found


def _config_option(arguments: list[str]) -> list[str]:
    """`train FILE ...` as `train --config FILE ...`, since a config cannot be positional there."""
    if len(arguments) > 1 and arguments[0] in COMMANDS and not arguments[1].startswith("-"):
        return [arguments[0], "--config", *arguments[1:]]
    return arguments


def _listed(arguments: list[str]) -> list[str]:
    """Options that take a list, with a bare value of theirs as a list of one: `--archs a.yaml`."""
    found, wanted = [], False
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if wanted and not argument.startswith("["):
            found.append(f"[{argument}]")
        elif equals and name in _lists() and not value.startswith("["):
            found.append(f"{name}=[{value}]")
        else:
            found.append(argument)
        wanted = argument in _lists()
    return found


@cache
def _lists() -> frozenset[str]:
    """The options that take a list and nothing else."""
    options = [option for command in COMMANDS.values() for option in command.options]
    own = {f"--{option.name}": option.type for option in options}
    return frozenset(name for name, kind in (own | _options()).items() if _is_list(kind))


def _config_file(arguments: list[str]) -> Path | None:
    for i, argument in enumerate(arguments):
        if argument == "--config" and i + 1 < len(arguments):
            return Path(arguments[i + 1])
        if argument.startswith("--config="):
            return Path(argument.removeprefix("--config="))
    return None


def _plainly(found: re.Match[str]) -> str:
    kind, value = found.groups()
    return f"must be {KINDS.get(kind, kind)}, got {value}"


def _explain(message: str, document: Document | None, arguments: list[str]) -> str:
    """The parser's complaint in one line, with file and line where the value stands in the file."""
    text = " ".join(message.split())
    if text.startswith("unrecognized arguments: "):
        option = text.removeprefix("unrecognized arguments: ").split()[0]
        return f"unknown option {option}{near(option.split('=')[0], [*_options()])}"
    found = re.search(r'[Pp]arser key "([\w.]+)":? *(.*)', text)
    if found is None:
        return text
    place = tuple(found.group(1).split("."))
    reason = re.sub(r"<class '(\w+)'>", r"\1", found.group(2))
    reason = re.sub(r"Expected a (\w+)\. Got value: (.*)", _plainly, reason)
    as_option = any(each.split("=")[0] == f"--{dotted(place)}" for each in arguments)
    if document is not None and place in document.lines and not as_option:
        return str(document.error(place, reason))
    return f"--{dotted(place)}: {reason}"
