"""The contents of a search's folder, and the metric that networks are judged by."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from search.front.front import Front
from search.front.front_file import FRONT
from search.pipeline.run_folder import section
from search.problem.costs import mac_limit
from search.problem.evaluation import Record
from search.problem.objectives import parse_objectives
from search.problem.problem import Problem
from search.study.search_file import SEARCH_FILE, SearchFile
from search.study.storage import JOURNAL, read_trials
from search.study.trial_format import read_records
from search.utils.console import is_share, metric_title
from space.arch import Arch
from space.space import SearchSpace
from space.utils.errors import naming
from supernet.tasks.registry import DEFAULT_TASK, TaskEntry, find_metric, task_entry, task_names
from supernet.tasks.registry import directions as task_directions

RANDOM = "RandomSampler"
LOWER = "lower is better"


@dataclass(frozen=True)
class SearchResult:
    """A stored search.

    Args:
        name: Name of its folder.
        front: The saved front, or the front so far where the search has not ended.
        records: All finished evaluations; empty where they are in a database.
        space: The searched space; None where unknown.
        limits: Budgets in the units of the costs, by name of the cost.
        tables: Digests of its latency tables, by name of the cost.
        sampler: Optuna's name of the sampler; empty where unknown.
        ended: Whether the search has ended.
        floors: Lower limits of budgets that are ranges, by name of the cost.
    """

    name: str
    front: Front
    records: tuple[Record, ...] = ()
    space: SearchSpace | None = None
    limits: Mapping[str, float] = field(default_factory=dict)
    tables: Mapping[str, str] = field(default_factory=dict)
    sampler: str = ""
    ended: bool = True
    floors: Mapping[str, float] = field(default_factory=dict)

    @property
    def mac_limit(self) -> float | None:
        """The limit of the MACs, with the head; None without one."""
        return mac_limit(self.limits, self.front.shape)

    @property
    def mac_floor(self) -> float:
        """The lower limit of the MACs, with the head; 0 without one."""
        shape = self.front.shape
        return max((mac_limit({k: x}, shape) or 0.0 for k, x in self.floors.items()), default=0.0)

    def find_random(self, others: Iterable[SearchResult]) -> list[SearchResult]:
        """Find the random searches with its objectives and budget; none if it is random itself."""
        if self.sampler == RANDOM or not self.records:
            return []
        return [
            each
            for each in others
            if each.sampler == RANDOM
            and each.records
            and each.front.objectives == self.front.objectives
            and each.front.shape == self.front.shape
            and (each.limits, each.floors) == (self.limits, self.floors)
        ]


def find_searches(folder: Path) -> list[str]:
    """Find the names of the searches in a folder that have a front or a journal."""
    return sorted(
        each.name
        for each in folder.glob("*")
        if (each / FRONT).exists() or ((each / JOURNAL).exists() and (each / SEARCH_FILE).exists())
    )


def read_search(folder: Path) -> SearchResult:
    """Read the folder of a search.

    Raises:
        InputError: A file is missing or invalid.
    """
    if not (folder / SEARCH_FILE).exists():
        return SearchResult(folder.name, Front.load(folder / FRONT))
    ended = (folder / FRONT).exists()
    file = SearchFile.load(folder)
    problem = _rebuild_problem(folder, file)
    records: list[Record] = []
    if (folder / JOURNAL).exists():
        with naming(str(folder / JOURNAL)):
            records = read_records(read_trials(folder), problem)
    return SearchResult(
        folder.name,
        Front.load(folder / FRONT) if ended else Front.of(problem, records),
        tuple(records),
        file.space,
        file.budget,
        file.latency,
        str(file.sampler.get("name", "")),
        ended,
        file.floors or {},
    )


def _rebuild_problem(folder: Path, file: SearchFile) -> Problem:
    """Rebuild the problem of a search from its stored description."""
    free = dict.fromkeys([*file.latency, *(file.functions or ())], _predict)
    directions = {**task_directions(), **(file.directions or {})}
    with naming(str(folder / SEARCH_FILE)):
        objectives = parse_objectives(list(file.objectives), directions, free)
    return Problem(file.space, objectives, directions=directions)


def _predict(arch: Arch) -> float:
    """Stand in for user functions and latency tables: the records already have their values."""
    raise NotImplementedError


@dataclass(frozen=True)
class Score:
    """A metric that networks are judged by.

    Args:
        name: Name of the metric.
        better: "max" or "min".
    """

    name: str
    better: str = "max"

    @property
    def title(self) -> str:
        """Name in sentences, such as `top-1`."""
        return metric_title(self.name)

    @property
    def axis(self) -> str:
        """Axis label: the title with its unit, and its direction where lower is better."""
        words = [self.unit.strip(), "" if self.better == "max" else LOWER]
        notes = ", ".join(filter(None, words))
        return f"{self.title} ({notes})" if notes else self.title

    @property
    def heading(self) -> str:
        """Title of a column, with the unit unless the values have it."""
        return self.title if self.is_percent or not self.unit else f"{self.title} ({self.unit[1:]})"

    @property
    def unit(self) -> str:
        """Unit to put behind a value, with a space; empty without one."""
        metric = find_metric(self.name)
        return f" {metric.unit}" if metric is not None and metric.unit else ""

    @property
    def is_percent(self) -> bool:
        return is_share(self.name)

    def scale(self, value: float) -> float:
        """Convert a value to the displayed unit."""
        return 100 * value if self.is_percent else value

    def format(self, metrics: Mapping[str, float]) -> str:
        """Format its value in metrics, with the unit; empty where it is missing."""
        if self.name not in metrics:
            return ""
        value = metrics[self.name]
        return f"{100 * value:.1f} %" if self.is_percent else f"{value:.4g}"


def choose_score(front: Front) -> Score:
    """Choose the score that ranks a front's subnets: its first objective if none is measured."""
    objective = front.ranked_by or front.objectives[0]
    return Score(objective.name, objective.direction)


def _task_of(config: Mapping[str, Any]) -> TaskEntry:
    """Return the task that a run's config names; the default one if it is not registered here."""
    name = section(config, "task").get("name", DEFAULT_TASK)
    return task_entry(name if name in task_names() else DEFAULT_TASK)


def task_pictures(config: Mapping[str, Any]) -> str:
    """Return the caption of the predictions of a run's task."""
    return _task_of(config).pictures


def describe_losses(config: Mapping[str, Any]) -> tuple[str, str]:
    """Describe what the largest arch of a run's supernet learns from, and what the others do."""
    recipe = section(config, "supernet")
    labels = "the labels" if recipe.get("teacher") is None else "the labels and the teacher"
    share = recipe.get("distill_share")
    share = _task_of(config).distill_share if share is None else share
    if share == 0:
        return labels, "the labels"
    distilled = "the largest arch's output (distillation)"
    return labels, distilled if share == 1 else f"the labels and {distilled}"


def task_scores(config: Mapping[str, Any]) -> list[Score]:
    """Return the scores of the task that a run's config names, for tables; the first is primary."""
    first, *others = _task_of(config).metrics
    shown = [first, *(metric for metric in others if metric.tabulated)]
    return [Score(metric.name, metric.direction) for metric in shown]
