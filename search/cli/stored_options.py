"""Values that a command takes from the run's `config.yaml`, as earlier options set them.

An option comes first, then a value that was edited in the config's file since the run's last
command, then the run's stored value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from search.cli.arguments import Arguments
from search.cli.messages import options, section_of
from search.pipeline.config import FileConfig
from search.pipeline.run_folder import COMMAND_VALUES, RunFolder
from search.study.options import without_password
from search.utils.plain_values import Keys, as_word, differences, plain
from space.utils.errors import cut
from space.utils.yaml_file import dotted

SAYS_NOTHING = object()


def stored_values(config: FileConfig, file: Path, arguments: Arguments) -> dict[Keys, Any]:
    """Return the run's stored values that apply and differ from those of the config's file.

    Args:
        config: The config of file and options.
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
        return not (own or edited or arguments.say(keys))

    changed = differences(stored, plain(asdict(config)))
    places = dict.fromkeys(_option_of(each.place, options()) for each in changed)
    found = {keys: _at(stored, keys) for keys in places if keys}
    return {k: v for k, v in found.items() if v is not SAYS_NOTHING and silent(k)}


def describe_values(values: Mapping[Keys, Any]) -> str:
    """Format values as options of a command line."""
    return " ".join(
        f"--{dotted(keys)} {cut(without_password(as_word(value)))}"
        for keys, value in values.items()
    )


def _option_of(place: Keys, known: Mapping[str, Any]) -> Keys:
    """Return the option that holds a config's place; empty for keys of other versions."""
    for length in range(1, len(place) + 1):
        kind = known.get(".".join(place[:length]))
        if kind is not None and (length == len(place) or section_of(kind) is None):
            return place[:length]
    return ()


def _at(values: Any, keys: Keys) -> Any:
    """Return the value at a place, or `SAYS_NOTHING`."""
    for key in keys:
        values = values.get(key, SAYS_NOTHING) if isinstance(values, dict) else SAYS_NOTHING
    return values
