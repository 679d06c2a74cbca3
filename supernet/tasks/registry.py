"""Which tasks there are, and their metrics. To add one: its file, and its entry here.

No torch in here: tables and reports ask what a metric is called without waiting for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Literal, NamedTuple

from space.utils.errors import InputError, near, shown

if TYPE_CHECKING:
    from supernet.tasks.base import Task

Direction = Literal["max", "min"]


@dataclass(frozen=True)
class Metric:
    """Something that networks are judged by.

    Args:
        name: Its name in configs, files and from Python.
        direction: Which way it is better.
        title: Its name in a sentence, on an axis.
        unit: "%" for shares, which are shown a hundredfold, or any other unit.
        hub_type: What the Hugging Face Hub calls it, where that is something else.
    """

    name: str
    direction: Direction
    title: str
    unit: str = ""
    hub_type: str = ""

    @property
    def is_share(self) -> bool:
        return self.unit == "%"


class TaskEntry(NamedTuple):
    """A task.

    Args:
        place: Module and class, as `module:Class`.
        metrics: What it is judged by; people look at the first.
        pipeline_tag: What the Hugging Face Hub calls the task.
        network: What a network for it is called, in a sentence.
    """

    place: str
    metrics: tuple[Metric, ...]
    pipeline_tag: str = "other"
    network: str = "A network"


DEFAULT_TASK = "classification"

_tasks: dict[str, TaskEntry] = {
    "classification": TaskEntry(
        "supernet.tasks.classification:Classification",
        (
            Metric("top1", "max", "top-1", "%", "accuracy"),
            Metric("top5", "max", "top-5", "%", "accuracy"),
            Metric("cross_entropy", "min", "cross entropy"),
            Metric("kl", "min", "KL to the full network"),
        ),
        "image-classification",
        "An image classifier",
    ),
}


def task_names() -> tuple[str, ...]:
    """The names of all tasks."""
    return tuple(_tasks)


def task_metrics(name: str = DEFAULT_TASK) -> tuple[Metric, ...]:
    """The metrics of a task, the one that people look at first.

    Raises:
        InputError: There is no such task.
    """
    return task_entry(name).metrics


def find_metric(name: str) -> Metric | None:
    """The metric of that name, of whichever task; None for one that no task has."""
    every = (metric for entry in _tasks.values() for metric in entry.metrics)
    return next((metric for metric in every if metric.name == name), None)


def directions() -> dict[str, Direction]:
    """Which way the metrics of all tasks are better, by name."""
    entries = _tasks.values()
    return {metric.name: metric.direction for entry in entries for metric in entry.metrics}


def task_class(name: str) -> type[Task]:
    """The class of a task.

    Raises:
        InputError: There is no such task.
    """
    module, _, kind = task_entry(name).place.partition(":")
    found: type[Task] = getattr(import_module(module), kind)
    return found


@contextmanager
def registered(name: str, entry: TaskEntry) -> Iterator[None]:
    """A task from outside that is there for a while.

    Raises:
        InputError: There is one of that name.
    """
    register(name, entry)
    try:
        yield
    finally:
        del _tasks[name]


def register(name: str, entry: TaskEntry) -> None:
    """Add a task from outside; every process that trains or judges for it must do so.

    Raises:
        InputError: There is one of that name.
    """
    if name in _tasks:
        raise InputError(f"task {shown(name)}: there is one of that name")
    _tasks[name] = entry


def task_entry(name: str) -> TaskEntry:
    """What the registry says of a task.

    Raises:
        InputError: There is no such task.
    """
    if name not in _tasks:
        raise InputError(
            f"task.name: must be one of {', '.join(_tasks)}, got {shown(name)}"
            f"{near(str(name), list(_tasks))}"
        )
    return _tasks[name]
