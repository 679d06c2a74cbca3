"""What lies in the folder of a search: its front, and all that it evaluated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from search.front import Front
from search.frontfile import FRONT
from search.objectives import DIRECTIONS, Objective, parse_objectives
from search.problem import Problem
from search.record import Record
from search.searchfile import NAME as SEARCH_FILE
from search.searchfile import tables_in
from search.storage import JOURNAL, read_trials
from search.trials import read_records
from space.arch import Arch
from space.shape import BackboneShape
from space.space import SearchSpace
from space.utils.errors import InputError, shown
from space.utils.yaml_file import read_yaml


@dataclass(frozen=True)
class SearchResult:
    """A search as it lies on the disk.

    Args:
        name: of its folder.
        front: as saved, or so far where the search has not ended.
        records: all finished evaluations; empty where they are kept in a database.
        space: that was searched; None where the folder does not say.
        limits: budgets by the name of the cost, in its own unit.
        tables: digests of the latency tables that it rests on, by the name of the cost.
        sampler: Optuna's name of it, or nothing.
        ended: whether the front was saved.
    """

    name: str
    front: Front
    records: tuple[Record, ...] = ()
    space: SearchSpace | None = None
    limits: Mapping[str, float] = field(default_factory=dict)
    tables: Mapping[str, str] = field(default_factory=dict)
    sampler: str = ""
    ended: bool = True


def find_searches(folder: Path) -> list[str]:
    """Names of the searches of a run that have something to report."""
    if not folder.is_dir():
        return []
    return sorted(
        each.name
        for each in folder.iterdir()
        if (each / FRONT).exists() or ((each / JOURNAL).exists() and (each / SEARCH_FILE).exists())
    )


def read_search(folder: Path) -> SearchResult:
    """Read the folder of a search.

    Raises:
        InputError: a file is not right, in one line that names it.
    """
    problem, limits, sampler = _description(folder / SEARCH_FILE)
    records: list[Record] = []
    if problem is not None and (folder / JOURNAL).exists():
        try:
            records = read_records(read_trials(folder), problem)
        except InputError as error:
            raise InputError(f"{folder / JOURNAL}: {error}") from None
    ended = (folder / FRONT).exists()
    if ended:
        front = Front.load(folder / FRONT)
    elif problem is not None:
        front = Front.of(problem, records)
    else:
        raise InputError(f"{folder / FRONT}: not there, and no {SEARCH_FILE} either")
    space = None if problem is None else problem.space
    tables = tables_in(folder)
    return SearchResult(folder.name, front, tuple(records), space, limits, tables, sampler, ended)


def _description(path: Path) -> tuple[Problem | None, dict[str, float], str]:
    """Problem, limits and sampler of a search's description; nothing where there is none."""
    if not path.exists():
        return None, {}, ""
    document = read_yaml(path)
    data: Any = document.data if isinstance(document.data, dict) else {}
    parts: dict[str, Any] = {}
    for key, kind in (("shape", dict), ("space", dict), ("objectives", list), ("budget", dict)):
        parts[key] = data.get(key)
        if not isinstance(parts[key], kind):
            raise document.error((key,), f"must be a {kind.__name__}, got {shown(parts[key])}")
    for key, kind in (("functions", list), ("directions", dict)):
        parts[key] = data.get(key, kind())
        if not isinstance(parts[key], kind):
            raise document.error((key,), f"must be a {kind.__name__}, got {shown(parts[key])}")
    try:
        space = SearchSpace.from_dict(parts["space"], BackboneShape.from_dict(parts["shape"]))
        free = dict.fromkeys([*tables_in(path.parent), *map(str, parts["functions"])], _predict)
        stated = {str(name): str(each) for name, each in parts["directions"].items()}
        directions = {**DIRECTIONS, **stated}
        objectives: tuple[Objective, ...] = parse_objectives(parts["objectives"], directions, free)
        limits = {str(name): float(most) for name, most in parts["budget"].items()}
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except (TypeError, ValueError):
        raise document.error(("budget",), "must be numbers by name") from None
    sampler = data.get("sampler")
    name = sampler.get("name", "") if isinstance(sampler, dict) else ""
    return Problem(space, objectives, directions=directions), limits, str(name)


def _predict(arch: Arch) -> float:
    """In place of a function, or a table that may be elsewhere: records have what they gave."""
    raise NotImplementedError
