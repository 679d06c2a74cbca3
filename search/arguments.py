"""Command lines as people write them, as jsonargparse reads them."""

from __future__ import annotations

import json
import re
import types
from functools import cache
from pathlib import Path
from typing import Any, Union, get_args, get_origin

import yaml

from search.commands import COMMANDS
from search.complaints import options
from search.folder import CONFIG
from space.utils.errors import InputError, cut

# A value of one of the space's operators, such as --space.pool.grids.
INSIDE = re.compile(r"--space\.(\w+)\.(\w+)")


def is_list(kind: Any) -> bool:
    """Whether a type is a list, or a list or nothing."""
    options = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
    return all(get_origin(option) is list or option is types.NoneType for option in options)


def config_option(arguments: list[str]) -> list[str]:
    """`train FILE ...` as `train --config FILE ...`, since a config cannot be positional there."""
    if len(arguments) > 1 and arguments[0] in COMMANDS and not arguments[1].startswith("-"):
        # The folder of a run stands for its config.
        command, file, *rest = arguments
        own = Path(file) / CONFIG
        return [command, "--config", str(own) if own.is_file() else file, *rest]
    return arguments


def long_names(arguments: list[str]) -> list[str]:
    """Options of the config's that the command has a short name for, in full."""
    command = COMMANDS.get(arguments[0])
    short = command.short if command is not None else {}
    parts = (argument.partition("=") for argument in arguments)
    return ["".join((short.get(name, name), *rest)) for name, *rest in parts]


def join_lists(arguments: list[str]) -> list[str]:
    """Options that take a list, with bare values of theirs as one: `--archs a.yaml b.yaml`."""
    found: list[str] = []
    wanted = False
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if wanted and not argument.startswith(("-", "[")):
            earlier = f"{found.pop()[1:-1]}, " if found[-1].startswith("[") else ""
            found.append(f"[{earlier}{argument}]")
        elif equals and name in _lists() and not value.startswith("["):
            found.append(f"{name}=[{value}]")
        else:
            found.append(argument)
        wanted = argument in _lists() or (wanted and not argument.startswith("-"))
    return found


@cache
def _lists() -> frozenset[str]:
    """The options that take a list and nothing else."""
    own = {f"--{each.name}": each.type for one in COMMANDS.values() for each in one.options}
    return frozenset(name for name, kind in (own | options()).items() if is_list(kind))


def add_true(arguments: list[str]) -> list[str]:
    """Options that are true or false, which without a value are true."""
    found: list[str] = []
    for argument, following in zip(arguments, [*arguments[1:], "-"], strict=True):
        bare = argument in _switches() and following.startswith("-")
        found += [argument, "true"] if bare else [argument]
    return found


@cache
def _switches() -> frozenset[str]:
    return frozenset(name for name, kind in options().items() if kind is bool)


def whole_operators(arguments: list[str], data: Any) -> list[str]:
    """`--space.pool.grids VALUE` as `--space.pool`, with what the config says of the rest of it.

    The parser knows no more of the space than that it is a mapping, and would forget the rest.

    Raises:
        InputError: a value is no YAML.
    """
    space = data.get("space") if isinstance(data, dict) else None
    found: list[str] = []
    changed: dict[str, Any] = {}
    left = iter(arguments)
    for argument in left:
        option, equals, value = argument.partition("=")
        place = INSIDE.fullmatch(option)
        if place is None:
            found.append(argument)
            continue
        said = space.get(place[1]) if isinstance(space, dict) else None
        operator = changed.setdefault(place[1], dict(said) if isinstance(said, dict) else {})
        value = value if equals else next(left, "")
        try:
            operator[place[2]] = json.loads(json.dumps(yaml.safe_load(value), default=str))
        except (yaml.YAMLError, ValueError, RecursionError):
            raise InputError(f"{option}: cannot be read: {cut(value)}") from None
    return found + [f"--space.{name}={json.dumps(each)}" for name, each in changed.items()]


def config_file(arguments: list[str]) -> Path | None:
    """The file that `--config` names, if there is one."""
    found = [
        argument.removeprefix("--config=") if argument != "--config" else following
        for argument, following in zip(arguments, [*arguments[1:], ""], strict=True)
        if argument == "--config" or argument.startswith("--config=")
    ]
    if len(found) > 1:
        raise InputError(f"--config: give one config, got {' and '.join(map(cut, found))}")
    return Path(found[0]) if found and found[0] else None
