"""The folder of a run: its configs, stages and search split."""

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
from space.utils.yaml_file import read_yaml, write_text, write_yaml

# Values that change speed or output, but not results.
FREE = {
    # Checkpoints and searches keep their precision, and refuse another one, themselves.
    *((name, "amp") for name in ("supernet", "retrain")),
    *(("data", name) for name in ("workers", "eval_batch", "test_limit")),
    *(("supernet", name) for name in SupernetConfig.free),
    *(("retrain", name) for name in RetrainConfig.free),
}

# Values of one command, not of the run: its resources, and the formats to export. Trainings and
# searches keep the precision that they began with.
UNSTORED_KEYS = (
    ("device",),
    ("supernet", "amp"),
    ("retrain", "amp"),
    ("search", "workers"),
    ("search", "cpus_per_worker"),
    ("search", "gpus_per_worker"),
    ("search", "ray"),
    ("search", "retry_failed"),
    ("export",),
    ("retrain", "workers"),
    ("retrain", "processes"),
    ("retrain", "cpus_per_worker"),
    ("retrain", "gpus_per_worker"),
)
# Sections that each named search stores for itself.
SEARCH_SECTIONS = ("search", "export", "retrain")
# The config of the last command, and its file's values without the options.
CONFIG, FILE = "config.yaml", "config_file.yaml"
SPLIT = "search_split.json"
MISSING = object()


class RunFolder:
    """A run's folder, created when the first stage claims it.

    Args:
        config: Config of the run.
        file: The config's file. If `config.run` is empty, it determines the folder: by its name, or
            for a run's own `config.yaml` as the folder of the file.
    """

    def __init__(self, config: Config, file: Path | None) -> None:
        # The stem of a file `...yaml` would be `..`, the parent folder.
        name = (file.stem.strip(".") if file is not None else "") or "run"
        self.config = config
        self.path = Path("runs") / name
        if config.run:
            self.path = Path(config.run)
        elif file is not None and is_stored_config(file):
            self.path = file.parent

    @property
    def search(self) -> Path:
        """The folder of the config's search."""
        return self.path / "search" / self.config.search.name

    def claim(self, stage: str, sections: tuple[str, ...], searched: bool = False) -> Path:
        """Claim a stage's folder for the values of some sections, and store the config.

        Args:
            stage: Name of the folder.
            sections: Sections that its results depend on.
            searched: Whether evaluations used the section `search`; if not, it is not stored for
                later commands.

        Raises:
            InputError: The folder holds results of other values, or cannot be written.
        """
        self.check(stage, sections)
        folder = self.path / stage
        if not (folder / CONFIG).exists():
            make_folder(folder)
            write_yaml(folder / CONFIG, self._values(sections))
        self._store(searched)
        return folder

    def check(self, stage: str, sections: tuple[str, ...]) -> None:
        """Check that a stage's folder can be claimed.

        Raises:
            InputError: The folder holds results of other values.
        """
        self.check_all({stage: sections})

    def check_all(self, stages: Mapping[str, tuple[str, ...]]) -> None:
        """Check that the folders of stages can be claimed.

        Args:
            stages: Sections that their results depend on, by stage, the earliest one first.

        Raises:
            InputError: Folders hold results of other values; the message has those of the first.
        """
        changes = {self.path / stage: self._changes(stage, each) for stage, each in stages.items()}
        changed = {folder: text for folder, text in changes.items() if text}
        if not changed:
            return
        (folder, text), *others = changed.items()
        also = f"; so do {', '.join(str(other) for other, _ in others)}" if others else ""
        which = "these folders" if others else "that folder"
        raise InputError(
            f"{folder}: holds results of other values ({text}){also}; give the old values, delete "
            f"{which}, or begin another run with --run"
        )

    def _changes(self, stage: str, sections: tuple[str, ...]) -> str:
        """Describe the values of a stage that differ from those its folder has results of."""
        stored = self.path / stage / CONFIG
        if not stored.exists():
            return ""
        changed = differences(read_yaml(stored).data, self._values(sections))
        return "; ".join(
            f"{'.'.join(keys)} was {shown(old)}, is {shown(new)}"
            for keys, old, new in changed
            if keys[:2] not in FREE
        )

    def stored(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Read the config of the last command, and its file's values, as far as they are stored.

        Raises:
            InputError: A file is invalid.
        """
        values, file_values = read_values(self.path / CONFIG), read_values(self.path / FILE)
        if self._own_search is not None:
            values |= read_values(self._own_search / CONFIG)
            file_values |= read_values(self._own_search / FILE)
        return values, file_values

    @property
    def _own_search(self) -> Path | None:
        """The folder of a search named by an option; None for the search of the file."""
        file_values = self.config.file_values if isinstance(self.config, FileConfig) else {}
        name_in_file = section(file_values, "search").get("name") or SearchConfig.name
        return None if self.config.search.name == name_in_file else self.search

    def _values(self, sections: tuple[str, ...]) -> dict[str, Any]:
        """Return the values that results of some sections depend on."""
        values = plain(asdict(self.config))
        return {name: values[name] for name in ("seed", *sections)}

    def _store(self, searched: bool) -> None:
        """Store the config for later commands, and its file's values, to notice edits.

        Where an option has named another search, the run's own sections of it are kept.
        """
        config, search = plain(asdict(self.config)), self._own_search
        file_values, defaults = config.pop("file_values", {}), plain(asdict(Config()))
        for keys in UNSTORED_KEYS:
            value = value_at(file_values, keys, value_at(defaults, keys))
            config = replace_values(config, {keys: value})
        unused = () if searched else ("search",)
        # The path is not stored: a run's folder may be moved.
        for name, values in ((CONFIG, config | {"run": None}), (FILE, file_values)):
            path = self.path / name
            if search is not None and search.is_dir():
                stored = _keep_sections(values, read_values(search / name), unused)
                stored = {key: stored[key] for key in SEARCH_SECTIONS if key in stored}
                write_yaml(search / name, stored)
            kept, before = SEARCH_SECTIONS if search else unused, read_values(path) or file_values
            write_yaml(path, _keep_sections(values, before, kept))

    def split(self) -> list[int] | None:
        """Read the indices of the search split, or None."""
        stored = self._read_split()
        return None if stored is None else [each.integer() for each in stored["indices"].items()]

    def store_split(self, indices: list[int], images: str) -> None:
        """Store the search split, for every later stage and restart.

        Args:
            indices: Its indices in the training images.
            images: The `list_digest` of these.
        """
        path = self.path / SPLIT
        if not path.exists():
            write_text(path, json.dumps({"indices": indices, "images": images}) + "\n")

    def check_images(self, images: str) -> None:
        """Refuse training images that are not those of the stored search split, by their digest.

        Raises:
            InputError: Other images have the indices of the split.
        """
        stored = self._read_split()
        if stored is not None and stored["images"].value not in (None, images):
            raise InputError(
                f"{self.path}: files or labels were added to the training images, removed or "
                "renamed since this run began, so that its search split would be of other images; "
                "give the data of that run, or begin another run with --run"
            )

    def _read_split(self) -> dict[str, Reader] | None:
        path = self.path / SPLIT
        # Runs of earlier versions have no digest of their images.
        return open_json(path).mapping("indices", images=None) if path.exists() else None


def is_stored_config(file: Path) -> bool:
    """Return whether a config's file was written by a run."""
    return file.name == CONFIG and file.with_name(FILE).exists()


def read_file_values(file: Path, data: dict[str, Any]) -> dict[str, Any]:
    """Return the values of a config's file; for a run's own, those of the original file."""
    return read_values(file.with_name(FILE)) if is_stored_config(file) else data


def replace_values(data: Mapping[str, Any], values: Mapping[Keys, Any]) -> dict[str, Any]:
    """Return a config's data with some values replaced."""
    changed = dict(data)
    for (first, *rest), value in values.items():
        inner = section(changed, first)
        changed[first] = replace_values(inner, {(*rest,): value}) if rest else value
    return changed


def value_at(values: Any, keys: Keys, default: Any = MISSING) -> Any:
    """Return the value at keys of a config's data, or the default."""
    for key in keys:
        if not isinstance(values, dict) or key not in values:
            return default
        values = values[key]
    return values


def _keep_sections(
    values: dict[str, Any], before: dict[str, Any], names: Iterable[str]
) -> dict[str, Any]:
    """Return values with the named sections as before, or without them if they were missing."""
    others = {key: value for key, value in values.items() if key not in names}
    return others | {key: before[key] for key in names if key in before}


def read_values(path: Path) -> dict[str, Any]:
    """Read the mapping in a file; empty where there is no file."""
    if not path.exists():
        return {}
    document = read_yaml(path)
    if not isinstance(document.data, dict):
        raise document.error((), "must be a mapping")
    return document.data


def section(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return a section of a run's config; empty where there is none."""
    value = values.get(name)
    return value if isinstance(value, dict) else {}
