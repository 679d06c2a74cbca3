"""What lies in the folder of a search: its front, and all that it evaluated."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from search.front import Front
from search.objectives import DIRECTIONS, parse_objectives
from search.problem import Problem
from search.record import Record
from search.searchfile import NAME as SEARCH_FILE
from search.searchfile import tables_in
from search.storage import JOURNAL, read_trials
from search.trials import read_records
from space.arch import Arch
from space.errors import InputError, shown
from space.shape import BackboneShape
from space.space import SearchSpace
from space.yamlfile import read_yaml

FRONT = "front.yaml"
RANDOM = "RandomSampler"


@dataclass(frozen=True)
class SearchResult:
    """A search as it lies on the disk.

    Args:
        name: Name of its folder.
        front: The front as saved, or so far where the search has not ended.
        records: All finished evaluations; empty where they are kept in a database.
        space: The space that was searched; None where the folder does not say.
        limits: Budgets by the name of the cost, in its own unit.
        tables: Digests of its latency tables, by the name of the cost.
        sampler: Optuna's name of the sampler, or nothing.
        ended: Whether the front was saved.
    """

    name: str
    front: Front
    records: tuple[Record, ...] = ()
    space: SearchSpace | None = None
    limits: Mapping[str, float] = field(default_factory=dict)
    tables: Mapping[str, str] = field(default_factory=dict)
    sampler: str = ""
    ended: bool = True

    def find_random(self, others: Iterable[SearchResult]) -> list[SearchResult]:
        """The random searches among others of the same objectives and budget."""
        if self.sampler == RANDOM or not self.records:
            return []
        return [
            each
            for each in others
            if each.sampler == RANDOM
            and each.records
            and each.front.objectives == self.front.objectives
            and each.front.shape == self.front.shape
            and each.limits == self.limits
        ]


def find_searches(folder: Path) -> list[str]:
    """Names of the searches of a run that have something to report."""
    return sorted(
        each.name
        for each in folder.glob("*")
        if (each / FRONT).exists() or ((each / JOURNAL).exists() and (each / SEARCH_FILE).exists())
    )


def read_search(folder: Path) -> SearchResult:
    """Read the folder of a search.

    Raises:
        InputError: a file is not right, in one line that names it.
    """
    ended = (folder / FRONT).exists()
    if not (folder / SEARCH_FILE).exists():
        if not ended:
            raise InputError(f"{folder / FRONT}: not there, and no {SEARCH_FILE} either")
        return SearchResult(folder.name, Front.load(folder / FRONT))
    problem, limits, sampler = _read_description(folder / SEARCH_FILE)
    records: list[Record] = []
    if (folder / JOURNAL).exists():
        try:
            records = read_records(read_trials(folder), problem)
        except InputError as error:
            raise InputError(f"{folder / JOURNAL}: {error}") from None
    return SearchResult(
        folder.name,
        Front.load(folder / FRONT) if ended else Front.of(problem, records),
        tuple(records),
        problem.space,
        limits,
        tables_in(folder),
        sampler,
        ended,
    )


def _read_description(path: Path) -> tuple[Problem, dict[str, float], str]:
    """Read the problem, the limits and the sampler of a search from its `search.yaml`."""
    document = read_yaml(path)
    data = document.data if isinstance(document.data, dict) else {}

    def read(key: str, kind: type, default: object = None) -> Any:
        value = data.get(key, default)
        if not isinstance(value, kind):
            raise document.error((key,), f"must be a {kind.__name__}, got {shown(value)}")
        return value

    shape, values = read("shape", dict), read("space", dict)
    objectives, budget = read("objectives", list), read("budget", dict)
    functions, stated = read("functions", list, []), read("directions", dict, {})
    try:
        space = SearchSpace.from_dict(values, BackboneShape.from_dict(shape))
        free = dict.fromkeys([*tables_in(path.parent), *map(str, functions)], _predict)
        directions = {**DIRECTIONS, **{str(name): str(each) for name, each in stated.items()}}
        problem = Problem(
            space, parse_objectives(objectives, directions, free), directions=directions
        )
        limits = {str(name): float(most) for name, most in budget.items()}
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except (TypeError, ValueError):
        raise document.error(("budget",), "must be numbers by name") from None
    sampler = data.get("sampler")
    name = sampler.get("name", "") if isinstance(sampler, dict) else ""
    return problem, limits, str(name)


def _predict(arch: Arch) -> float:
    """In place of a function, or a table that may be elsewhere: records have what they gave."""
    raise NotImplementedError
