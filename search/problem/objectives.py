"""Objectives: metrics of the evaluation, free costs, and functions of the arch."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from search.problem.costs import FREE_COSTS, is_latency, predicted_name
from space.arch import Arch
from space.utils.errors import InputError, check_one_of, cut, near, shown
from supernet.tasks.registry import DEFAULT_TASK, task_entry
from supernet.tasks.registry import directions as task_directions

Direction = Literal["max", "min"]
Evaluate = Callable[[Arch], Mapping[str, float]]

DEFAULT = (task_entry(DEFAULT_TASK).metrics[0].name, "macs")
NAME = re.compile(r"[A-Za-z_][\w.@-]*")


@dataclass(frozen=True)
class Objective:
    """A quantity to maximise or minimise.

    Args:
        name: Name of a free cost or a metric; any name with `function`.
        direction: "max" or "min".
        function: Function of the arch alone; None for costs and metrics.

    Raises:
        InputError: The name or the direction is invalid.
    """

    name: str
    direction: Direction
    function: Callable[[Arch], float] | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not NAME.fullmatch(self.name):
            raise InputError(f"objective: a name must be one word, got {shown(self.name)}")
        check_one_of(f"objective {cut(self.name)}: direction", self.direction, ("max", "min"))

    @property
    def sign(self) -> int:
        """Factor that turns values into ones to minimise."""
        return -1 if self.direction == "max" else 1

    @property
    def optuna_direction(self) -> Literal["maximize", "minimize"]:
        return "maximize" if self.direction == "max" else "minimize"

    @property
    def measured(self) -> bool:
        """Whether its value comes from the evaluation."""
        return self.function is None and self.name not in FREE_COSTS

    def __str__(self) -> str:
        return f"{self.name}={self.direction}"


def parse_objectives(
    values: str | Objective | Iterable[str | Objective],
    directions: Mapping[str, str] | None = None,
    functions: Mapping[str, Callable[[Arch], float]] | None = None,
) -> tuple[Objective, ...]:
    """Parse objectives from names; a user's own metric needs a direction: `iou=max`.

    Args:
        values: One objective or several.
        directions: Directions of the evaluation's metrics by name; None for those of all tasks.
        functions: Further costs by name: predicted latencies.

    Raises:
        InputError: There is no objective, a name is unknown or given twice, or a direction invalid.
    """
    given = [values] if isinstance(values, str | Objective) else list(values)
    stated = task_directions() if directions is None else directions
    found = [_parse(each, stated, functions or {}) for each in given]
    if not found:
        raise InputError(f"objectives: at least one is needed, such as {', '.join(DEFAULT)}")
    names = [objective.name for objective in found]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"objectives: {shown(name)} is given twice")
    return tuple(found)


def first_measured(objectives: Iterable[Objective]) -> Objective | None:
    """Return the first measured objective, which ranks archs; None without one."""
    return next((objective for objective in objectives if objective.measured), None)


def direction_of(
    name: str, objectives: Iterable[Objective] = (), directions: Mapping[str, str] | None = None
) -> Direction:
    """Return the direction of optimisation of a metric or latency.

    Args:
        name: The metric's name.
        objectives: Objectives of the search.
        directions: Directions of the metrics that the evaluation gives, by name.

    Raises:
        InputError: The direction is unknown.
    """
    stated: dict[str, str] = {**task_directions(), **(directions or {})}
    stated |= {each.name: each.direction for each in objectives}
    if name in stated:
        return "max" if stated[name] == "max" else "min"
    if is_latency(predicted_name(name) or name):
        return "min"
    short = cut(name)
    raise InputError(
        f"budget {short}: nothing says whether more of it is better; say so by an objective "
        f"{short}=max or {short}=min, or by `directions` of run_search"
    )


def _parse(
    value: object, directions: Mapping[str, str], functions: Mapping[str, Callable[[Arch], float]]
) -> Objective:
    if isinstance(value, Objective):
        is_predicted = value.function is None and value.name in functions
        return replace(value, function=functions[value.name]) if is_predicted else value
    if not isinstance(value, str):
        raise InputError(f"objectives: must be names, got {shown(value)}")
    name, equals, direction = (part.strip() for part in value.partition("="))
    if not equals:
        known = {**directions, **dict.fromkeys((*FREE_COSTS, *functions), "min")}
        if name not in known:
            short = cut(name)
            raise InputError(
                f"objectives: unknown {shown(name)}{near(name, list(known))}; a metric of your own "
                f"needs its direction: {short}=max or {short}=min"
            )
        direction = known[name]
    return Objective(name, direction, functions.get(name))  # type: ignore[arg-type]
