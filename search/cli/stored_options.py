"""Values that a command reads from the run's `config.yaml`, as set by options of earlier commands.

Precedence: an option, then a value that was edited in the config's file since the run's last
command, then the run's stored value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from search.cli.arguments import Arguments
from search.cli.messages import get_option_types, section_of
from search.pipeline.config import FileConfig
from search.pipeline.run_folder import COMMAND_VALUES, RunFolder
from search.study.options import without_password
from search.utils.plain_values import Keys, differences, plain, quote_value
from space.utils.errors import cut
from space.utils.yaml_file import dotted

MISSING = object()


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
        name = ".".join(keys)
        keys_of_command = (*COMMAND_VALUES, "run", "search.name")
        own = any(f"{name}.".startswith(f"{each}.") for each in keys_of_command)
        edited = _at(said, keys) != _at(config.file_values, keys)
        return not (own or edited or arguments.sets(keys))

    changed = differences(stored, plain(asdict(config)))
    option_keys = dict.fromkeys(_find_option(each.place, get_option_types()) for each in changed)
    values = {keys: _at(stored, keys) for keys in option_keys if keys}
    return {keys: v for keys, v in values.items() if v is not MISSING and silent(keys)}


def describe_values(values: Mapping[Keys, Any]) -> str:
    """Format values as options of a command line."""
    return " ".join(
        f"--{dotted(keys)} {cut(without_password(quote_value(value)))}"
        for keys, value in values.items()
    )


def _find_option(place: Keys, option_types: Mapping[str, Any]) -> Keys:
    """Return the keys of the option that holds a value; empty for keys of other versions."""
    for length in range(1, len(place) + 1):
        kind = option_types.get(".".join(place[:length]))
        if kind is not None and (length == len(place) or section_of(kind) is None):
            return place[:length]
    return ()


def _at(values: Any, keys: Keys) -> Any:
    """Return the value at keys, or `MISSING`."""
    for key in keys:
        values = values.get(key, MISSING) if isinstance(values, dict) else MISSING
    return values
