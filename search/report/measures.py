"""What the pictures and tables call a metric, and the unit that they show it in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from search.front import Front
from search.objectives import Objective
from search.report.choices import Choice

TITLES = {
    "top1": "top-1",
    "top5": "top-5",
    "macs": "MACs",
    "params": "parameters",
    "tokens": "patch tokens over all blocks",
    "activation_memory": "activation memory (bytes)",
    "cross_entropy": "cross entropy",
}
SHARES = ("top1", "top5")
LOWER = " (lower is better)"


class Score(NamedTuple):
    """The metric that networks are judged by.

    Args:
        name: as searches call it.
        better: "max" or "min".
    """

    name: str
    better: str = "max"

    @property
    def title(self) -> str:
        """With its unit: `top-1 (%)`."""
        return f"{title(self.name)} (%)" if self.percent else title(self.name)

    @property
    def axis(self) -> str:
        """The title, with its direction where that is not the usual one."""
        return self.title if self.better == "max" else f"{self.title}{LOWER}"

    @property
    def percent(self) -> bool:
        return self.name in SHARES

    def show(self, value: float) -> float:
        """A value in the unit that is shown."""
        return 100 * value if self.percent else value

    def text(self, value: float | None) -> str:
        """A value as it is written; nothing for None."""
        if value is None:
            return ""
        return f"{100 * value:.1f} %" if self.percent else f"{value:.4g}"


def title(name: str) -> str:
    """A metric's name as it stands in a sentence."""
    cost, at, device = name.partition("@")
    if cost == "latency_ms":
        return f"latency (ms a batch{f', on {device}' * bool(at)})"
    return TITLES.get(name, name)


def score_of(front: Front) -> Score:
    """What ranks the subnets of a front, or its first objective where none is measured."""
    objective = front.ranked_by or next(iter(front.objectives), None)
    return Score(objective.name, objective.direction) if objective else Score("top1")


def test_score(score: Score, choices: Sequence[Choice]) -> Score:
    """Top-1 where it is among the test figures: people read it, whatever ranked the archs."""
    names = {name for each in choices for name in (*each.inherited, *each.retrained)}
    return Score("top1") if "top1" in names and not score.percent else score


def cost_axis(objectives: Sequence[Objective], score: Score) -> str:
    """What stands along the front: MACs, or the other objective where MACs are none."""
    others = [each.name for each in objectives if each.name != score.name]
    return others[0] if others and "macs" not in others else "macs"
