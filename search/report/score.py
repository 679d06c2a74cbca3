"""The metric that networks are judged by: its title and unit in plots and tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from search.front.front import Front
from search.pipeline.run_folder import section
from search.utils.console import is_share, metric_title
from supernet.tasks.registry import DEFAULT_TASK, task_metrics, task_names

LOWER = " (lower is better)"


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
        unit = " (%)" if self.is_percent else ""
        return f"{self.title}{unit}{'' if self.better == 'max' else LOWER}"

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


def task_score(config: Mapping[str, Any]) -> Score:
    """Return the score of the task that a run's config names: the task's first metric."""
    name = section(config, "task").get("name", DEFAULT_TASK)
    metric = task_metrics(name if name in task_names() else DEFAULT_TASK)[0]
    return Score(metric.name, metric.direction)
