"""The folder of a run: what was asked for, beside what came of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from search.pipeline.config import Config, FileConfig, RetrainConfig, SearchConfig, SupernetConfig
from search.utils.plain_values import Keys, differences, plain
from space.utils.atomic import make_folder
from space.utils.errors import InputError, shown
from space.utils.reader import Reader, open_json
from space.utils.values import is_integer
from space.utils.yaml_file import read_yaml, write_text, write_yaml

# Values that change how fast results come, or which are shown, but not the results.
FREE = {
    ("data", "workers"),
    ("data", "eval_batch"),
    ("data", "test_limit"),
    *(("supernet", name) for name in SupernetConfig.free),
    *(("retrain", name) for name in RetrainConfig.free),
}

# What each command says for itself, beside which run and search: on what machine, what is exported.
OWN = (
    "device",
    "search.workers",
    "search.cpus_per_worker",
    "search.gpus_per_worker",
    "search.ray",
    "search.retry_failed",
    "export",
    "retrain.workers",
    "retrain.processes",
    "retrain.cpus_per_worker",
    "retrain.gpus_per_worker",
)
# Sections that searches of other names have for themselves.
SEARCHED = ("search", "export", "retrain")
# The config of the last command, and what its file said then without the options.
CONFIG, FILE = "config.yaml", "config_file.yaml"
SPLIT = "search_split.json"
MOST_SHOWN = 8


class RunFolder:
    """A run's folder; made when the first stage claims it.

    Args:
        config: of the run.
        file: the config's file, which names the folder where `run` does not; of a run's own
            `config.yaml` that is where it lies.
    """

    def __init__(self, config: Config, file: Path | None) -> None:
        # A file called `...yaml` is not to name the folder above.
        name = (file.stem.strip(".") if file is not None else "") or "run"
        self.config = config
        self.path = Path("runs") / name
        if config.run:
            self.path = Path(config.run)
        elif file is not None and is_own(file):
            self.path = file.parent

    def stage(self, name: str) -> Path:
        return self.path / name

    @property
    def search(self) -> Path:
        """The folder of the config's search."""
        return self.stage("search") / self.config.search.name

    def claim(self, stage: str, sections: tuple[str, ...], searched: bool = False) -> Path:
        """Take a stage's folder for the values of these sections.

        Args:
            stage: Name of the folder.
            sections: What its results depend on.
            searched: Whether something was evaluated by the values of the section `search`: only
                then later commands take them from this one too.

        Raises:
            InputError: results of other values are there, and nothing is touched; or the folder
                cannot be written.
        """
        self.check(stage, sections)
        folder, whole = self.stage(stage), plain(asdict(self.config))
        stored = folder / CONFIG
        if not stored.exists():
            make_folder(folder)
            write_yaml(stored, {name: whole[name] for name in ("seed", *sections)})
        self._store(whole, searched)
        return folder

    def check(self, stage: str, sections: tuple[str, ...]) -> None:
        """Look whether a stage's folder can be taken; nothing is touched.

        Raises:
            InputError: results of other values are there.
        """
        folder, whole = self.stage(stage), plain(asdict(self.config))
        stored = folder / CONFIG
        if not stored.exists():
            return
        values = {name: whole[name] for name in ("seed", *sections)}
        changed = changes(read_yaml(stored).data, values)
        if changed:
            more = f"; and {len(changed) - MOST_SHOWN} more" if len(changed) > MOST_SHOWN else ""
            raise InputError(
                f"{folder}: holds results of other values "
                f"({'; '.join(changed[:MOST_SHOWN])}{more}); give the old "
                "values, delete that folder, or begin another run with --run"
            )

    def stored(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The config of the last command, and what its file said; what is not there is left out.

        Raises:
            InputError: a file is not right.
        """
        values, said = read_values(self.path / CONFIG), read_values(self.path / FILE)
        if self._own_search is not None:
            values |= read_values(self._own_search / CONFIG)
            said |= read_values(self._own_search / FILE)
        return values, said

    @property
    def _own_search(self) -> Path | None:
        """The folder of a search that an option has named; None for the one that the file means."""
        said = self.config.file_values if isinstance(self.config, FileConfig) else {}
        search, name = said.get("search"), self.config.search.name
        plain_name = search.get("name") if isinstance(search, dict) else None
        return None if name == (plain_name or SearchConfig.name) else self.path / "search" / name

    def _store(self, whole: dict[str, Any], searched: bool) -> None:
        """Keep the config for later commands, and what its file said, so that edits are noticed.

        Where an option has named another search, what plain commands mean stays as it is.
        """
        said, own = whole.pop("file_values", None), self._own_search
        held = () if searched else ("search",)
        if said is None:
            said = {}
        else:
            _take_own(whole, said)
        # A run may be moved: where it lies is not for its config to say.
        for name, values in ((CONFIG, whole | {"run": None}), (FILE, said)):
            before = read_values(self.path / name) or said
            if own is None:
                write_yaml(self.path / name, _held(values, before, held))
                continue
            if own.is_dir():
                searches = _held(values, read_values(own / name), held)
                write_yaml(own / name, {key: searches[key] for key in SEARCHED if key in searches})
            write_yaml(self.path / name, _held(values, before, SEARCHED))

    def split(self) -> list[int] | None:
        """The indices of the search split, once they are stored."""
        path = self.path / SPLIT
        if not path.exists():
            return None
        indices = open_json(path).entries().get("indices", Reader(None)).value
        if not isinstance(indices, list) or not all(map(is_integer, indices)):
            raise InputError(f"{path}: no list of indices; delete the run to begin anew")
        return indices

    def store_split(self, indices: list[int]) -> None:
        """Store the indices of the search split, for every later stage and restart."""
        path = self.path / SPLIT
        if not path.exists():
            write_text(path, json.dumps({"indices": indices}) + "\n")


def is_own(file: Path) -> bool:
    """Whether a config's file is what a run has written."""
    return file.name == CONFIG and file.with_name(FILE).exists()


def values_of_file(file: Path, data: dict[str, Any]) -> dict[str, Any]:
    """What a config's file says; a run's own stands for the one that the run was begun with."""
    return read_values(file.with_name(FILE)) if is_own(file) else data


def _take_own(values: dict[str, Any], said: dict[str, Any]) -> None:
    """Take from a file, or from the defaults, what options say for one command alone."""
    defaults = plain(asdict(Config()))
    for key in OWN:
        section, _, name = key.rpartition(".")
        inner, told, default = values, said, defaults
        if section:
            inner, told, default = values[section], said.get(section) or {}, defaults[section]
        inner[name] = told.get(name, default[name])


def _held(values: dict[str, Any], before: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Values, with some sections as they were before; without those that were not there."""
    others = {key: value for key, value in values.items() if key not in names}
    return others | {key: before[key] for key in names if key in before}


def read_values(path: Path) -> dict[str, Any]:
    """The mapping in a file; an empty one where there is no file."""
    if not path.exists():
        return {}
    document = read_yaml(path)
    if not isinstance(document.data, dict):
        raise document.error((), "must be a mapping")
    return document.data


def section(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A section of a run's config; an empty one where there is none."""
    found = values.get(name)
    return found if isinstance(found, dict) else {}


def changes(old: Any, new: Any, place: Keys = ()) -> list[str]:
    """What differs, value by value, as `supernet.lr was 0.1, is 0.2`."""
    return [
        f"{'.'.join(at)} was {shown(then)}, is {shown(now)}"
        for at, then, now in differences(old, new, place)
        if at[:2] not in FREE
    ]
