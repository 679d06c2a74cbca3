"""What a command takes from the run's `config.yaml`, where its command line is silent.

An option comes first. Where none is given, a value counts that was edited in the config's file
since the run's last command; else the run's own, which an earlier option may have given.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from search.cli.arguments import Arguments
from search.cli.messages import options, section_of
from search.pipeline.config import FileConfig
from search.pipeline.run_folder import OWN, RunFolder
from search.study.database_url import without_password
from search.utils.plain_values import Keys, as_word, differences, plain
from space.utils.errors import cut
from space.utils.yaml_file import dotted

SAYS_NOTHING = object()


def stored_values(config: FileConfig, file: Path, arguments: Arguments) -> dict[Keys, Any]:
    """Values of the run that a command line leaves as they are, where they differ from the file's.

    Args:
        config: as file and options give it.
        file: the config's file.
        arguments: the command line.

    Raises:
        InputError: a file of the run is not right.
    """
    stored, said = RunFolder(config, file).stored()

    def silent(keys: Keys) -> bool:
        """Whether neither an option nor an edit of the file says anything of a value."""
        name = ".".join(keys)
        own = any(f"{name}.".startswith(f"{each}.") for each in (*OWN, "run", "search.name"))
        edited = _at(said, keys) != _at(config.file_values, keys)
        return not (own or edited or arguments.say(keys))

    changed = differences(stored, plain(asdict(config)))
    places = dict.fromkeys(_option_of(each.place, options()) for each in changed)
    found = {keys: _at(stored, keys) for keys in places if keys}
    return {k: v for k, v in found.items() if v is not SAYS_NOTHING and silent(k)}


def describe_values(values: Mapping[Keys, Any]) -> str:
    """Values as the options that they would be."""
    return " ".join(
        f"--{dotted(keys)} {cut(without_password(as_word(value)))}"
        for keys, value in values.items()
    )


def _option_of(place: Keys, known: Mapping[str, Any]) -> Keys:
    """The option that a place of a config lies in, or is; none for keys of other versions."""
    for length in range(1, len(place) + 1):
        kind = known.get(".".join(place[:length]))
        if kind is not None and (length == len(place) or section_of(kind) is None):
            return place[:length]
    return ()


def _at(values: Any, keys: Keys) -> Any:
    """The value at a place, where there is one."""
    for key in keys:
        values = values.get(key, SAYS_NOTHING) if isinstance(values, dict) else SAYS_NOTHING
    return values
