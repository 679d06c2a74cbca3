"""The folder of a run: what was asked for, beside what came of it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from search.config import Config, RetrainConfig, SupernetConfig
from space.arch import is_integer
from space.errors import InputError, shown
from space.writing import make_folder
from space.yamlfile import read_yaml, write_text, write_yaml

# Values that change how fast results come, or which are shown, but not the results.
FREE = {
    ("data", "workers"),
    ("data", "eval_batch"),
    ("data", "test_limit"),
    *(("supernet", name) for name in SupernetConfig.free),
    *(("retrain", name) for name in RetrainConfig.free),
}


MOST_SHOWN = 8


class RunFolder:
    """A run's folder; made when the first stage claims it.

    Args:
        config: of the run.
        file: the config's file, which names the folder where `run` does not.
    """

    def __init__(self, config: Config, file: Path | None) -> None:
        # A file called `...yaml` is not to name the folder above.
        name = (file.stem.strip(".") if file is not None else "") or "run"
        self.config = config
        self.path = Path(config.run) if config.run else Path("runs") / name

    def stage(self, name: str) -> Path:
        return self.path / name

    def claim(self, stage: str, sections: tuple[str, ...]) -> Path:
        """Take a stage's folder for the values of these sections.

        Raises:
            InputError: results of other values are there, and nothing is touched; or the folder
                cannot be written.
        """
        self.check(stage, sections)
        folder, whole = self.stage(stage), plain(asdict(self.config))
        stored = folder / "config.yaml"
        if not stored.exists():
            make_folder(folder)
            write_yaml(stored, {name: whole[name] for name in ("seed", *sections)})
        write_yaml(self.path / "config.yaml", whole)
        return folder

    def check(self, stage: str, sections: tuple[str, ...]) -> None:
        """Look whether a stage's folder can be taken; nothing is touched.

        Raises:
            InputError: results of other values are there.
        """
        folder, whole = self.stage(stage), plain(asdict(self.config))
        stored = folder / "config.yaml"
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

    def split(self) -> list[int] | None:
        """The indices of the search split, once they are stored."""
        path = self.path / "search_split.json"
        if not path.exists():
            return None
        try:
            indices = json.loads(path.read_text(encoding="utf-8"))["indices"]
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            indices = None
        if not isinstance(indices, list) or not all(map(is_integer, indices)):
            raise InputError(f"{path}: no list of indices; delete the run to begin anew")
        return indices

    def store_split(self, indices: list[int]) -> None:
        """Store the indices of the search split, for every later stage and restart."""
        path = self.path / "search_split.json"
        if not path.exists():
            write_text(path, json.dumps({"indices": indices}) + "\n")


def plain(value: Any) -> Any:
    """Tuples as lists, for YAML."""
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return value


def changes(old: Any, new: Any, place: tuple[str, ...] = ()) -> list[str]:
    """What differs, value by value, as `supernet.lr was 0.1, is 0.2`."""
    if place in FREE:
        return []
    if isinstance(old, dict) and isinstance(new, dict):
        keys = [*old, *(key for key in new if key not in old)]
        return [
            change for key in keys for change in changes(old.get(key), new.get(key), (*place, key))
        ]
    return [] if old == new else [f"{'.'.join(place)} was {shown(old)}, is {shown(new)}"]
