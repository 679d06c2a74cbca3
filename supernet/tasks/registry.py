"""The registry of tasks and their metrics. To add a task: its file, and its entry here.

No import of torch, so that tables and reports can read metrics fast.
"""

from __future__ import annotations

from dataclasses import dataclass
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Literal, NamedTuple

from space.utils.errors import InputError, check_one_of, shown

if TYPE_CHECKING:
    from supernet.tasks.base import Task

Direction = Literal["max", "min"]


@dataclass(frozen=True)
class Metric:
    """A metric of networks.

    Args:
        name: Name in configs, files and Python.
        direction: Direction of optimisation.
        title: Name in sentences and on axes.
        unit: Unit; "%" for shares, which are displayed times 100.
        hub_type: Name on the Hugging Face Hub; empty if it is the same as `name`.
        tabulated: Whether tables of networks show it beside the primary metric.
    """

    name: str
    direction: Direction
    title: str
    unit: str = ""
    hub_type: str = ""
    tabulated: bool = False


class TaskEntry(NamedTuple):
    """The registry entry of a task.

    Args:
        class_path: Module and class, as `module:Class`.
        metrics: Its metrics, the primary one first.
        pipeline_tag: Name of the task on the Hugging Face Hub.
        network: Noun phrase for its networks, to begin sentences with.
        output: Name of the output in exported files, of tasks with a head of their own.
        pictures: Caption of its predictions in reports; empty where there are none.
        meaning: What its output is, for cards of networks whose output is a map.
        distill_share: Weight of distillation from the largest arch in a supernet's training, beside
            the labels, unless the recipe gives one.
    """

    class_path: str
    metrics: tuple[Metric, ...]
    pipeline_tag: str = "other"
    network: str = "A network"
    output: str = "logits"
    pictures: str = ""
    meaning: str = "a map"
    distill_share: float = 1.0


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
    "depth": TaskEntry(
        "supernet.tasks.depth:Depth",
        (
            Metric("rmse", "min", "RMSE", "m"),
            Metric("abs_rel", "min", "relative error", tabulated=True),
            Metric("delta1", "max", "pixels within 1.25x", "%", tabulated=True),
            Metric("silog", "min", "scale-invariant log error x 100"),
        ),
        "depth-estimation",
        "A network that estimates depth",
        "depth",
        "Depth from red (near) to blue (far), on one scale for an image; errors are relative to "
        "the truth; grey without a measurement.",
        "depth in metres",
        # The largest arch's output moves under the others' pull: measured in docs/tasks.md.
        distill_share=0.0,
    ),
    "segmentation": TaskEntry(
        "supernet.tasks.segmentation:Segmentation",
        (
            Metric("miou", "max", "mean IoU", "%", "mean_iou"),
            Metric("pixel_accuracy", "max", "pixel accuracy", "%", tabulated=True),
            Metric("cross_entropy", "min", "cross entropy"),
        ),
        "image-segmentation",
        "A network that segments images",
        pictures="A colour for each class.",
        meaning="the logits of the classes",
    ),
}


def task_names() -> tuple[str, ...]:
    """Return the names of all tasks."""
    return tuple(_tasks)


def find_metric(name: str) -> Metric | None:
    """Return the metric of that name, of any task; None if no task has one."""
    metrics = (metric for entry in _tasks.values() for metric in entry.metrics)
    return next((metric for metric in metrics if metric.name == name), None)


def secondary_metrics() -> list[Metric]:
    """Return the metrics that are not the primary one of their task."""
    return [metric for entry in _tasks.values() for metric in entry.metrics[1:]]


def directions(*tasks: str) -> dict[str, Direction]:
    """Return the optimisation direction of each metric of the given tasks, by default of all."""
    names = tasks or task_names()
    return {metric.name: metric.direction for name in names for metric in task_entry(name).metrics}


def task_class(name: str) -> type[Task]:
    """Return the class of a task.

    Raises:
        InputError: There is no such task.
    """
    task: type[Task] = resolve_name(task_entry(name).class_path)
    return task


def map_value_keys() -> tuple[str, ...]:
    """Return the keys of `data.dataset` that tell what the values of maps mean, of all tasks.

    Imports the tasks, and torch with them.
    """
    return tuple(dict.fromkeys(key for name in _tasks for key in task_class(name).data_keys))


def register(name: str, entry: TaskEntry) -> None:
    """Add a task; needed in every process that trains or evaluates it.

    Raises:
        InputError: The name is taken, or another task has a metric of the same name that differs.
    """
    if name in _tasks:
        raise InputError(f"task {shown(name)}: is registered already")
    for metric in entry.metrics:
        if find_metric(metric.name) not in (None, metric):
            raise InputError(
                f"metric {shown(metric.name)}: differs from another task's metric of that name"
            )
    _tasks[name] = entry


def task_entry(name: str) -> TaskEntry:
    """Return the registry entry of a task.

    Raises:
        InputError: There is no such task.
    """
    check_one_of("task.name:", name, task_names())
    return _tasks[name]
