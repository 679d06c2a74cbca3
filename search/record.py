"""What is evaluated, what comes of it, and what is kept of that."""

from __future__ import annotations

import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from search.chance import GroupMeans, groups_of
from search.objectives import Evaluate
from search.timelimit import evaluate_within
from space.arch import Arch
from space.utils.errors import cut, one_line, shown

LONGEST_ERROR = 300

Source = Literal["initial", "retry", "sampler", "uniform"]


@dataclass(frozen=True)
class Job:
    """An arch that is to be evaluated.

    Args:
        identity: `SearchSpace.identity` of the arch.
        arch: canonical.
        genes: an assignment that decodes to it.
        source: who proposed it: the initial population, a failure that is tried again, the sampler,
            or a uniform draw.
    """

    identity: str
    arch: Arch
    genes: Mapping[str, str]
    source: Source


@dataclass(frozen=True)
class Outcome:
    """What an evaluation gave: metrics, or an error in one line.

    Args:
        metrics: by name; empty where it failed.
        error: why it failed; None where it did not.
        seconds: how long it took.
        groups: what is known of metrics by groups of the images.
    """

    metrics: Mapping[str, float]
    error: str | None = None
    seconds: float = 0.0
    groups: Mapping[str, GroupMeans] = field(default_factory=dict)


@dataclass(frozen=True)
class Record:
    """A finished evaluation.

    Args:
        number: its place in the order of finishing, from 0.
        identity: of its arch.
        arch: canonical.
        metrics: what was measured, and the free costs; empty where it failed.
        values: of the objectives, in their order; None where it failed.
        excess: how far each constrained metric is beyond its limit.
        seconds: how long the evaluation took.
        error: why it failed; None where it did not.
        reused: whether the metrics were taken over from another search.
        groups: what is known of the objectives by groups of the images.
    """

    number: int
    identity: str
    arch: Arch
    metrics: Mapping[str, float]
    values: tuple[float, ...] | None
    excess: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    error: str | None = None
    reused: bool = False
    groups: Mapping[str, GroupMeans] = field(default_factory=dict)

    @property
    def inside(self) -> bool:
        """Whether it was evaluated and keeps every constraint."""
        return self.values is not None and all(value <= 0 for value in self.excess.values())


def attempt(evaluate: Evaluate, arch: Arch, limit: float | None = None) -> Outcome:
    """Evaluate an arch; an exception, or a result that is no mapping of numbers, is an outcome.

    Args:
        evaluate: What gives the metrics of an arch.
        arch: The arch.
        limit: Seconds after which the evaluation has failed; None for no limit.
    """
    started = time.perf_counter()
    metrics: dict[str, float] = {}
    groups: Mapping[str, GroupMeans] = {}
    error = None
    try:
        given = evaluate_within(evaluate, arch, limit)
        metrics, groups = _numbers(given), groups_of(given)
    except Exception as raised:
        error = describe(raised)
    return Outcome(metrics, error, time.perf_counter() - started, groups)


def describe(error: BaseException) -> str:
    """An exception in one line, with the place that raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return one_line(error, typed=True) + place


def _numbers(metrics: object) -> dict[str, float]:
    if not isinstance(metrics, Mapping):
        raise TypeError(f"an evaluation must give a mapping of metrics, got {shown(metrics)}")
    return {str(name): _number(name, value) for name, value in metrics.items()}


def _number(name: object, value: object) -> float:
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise TypeError(f"metric {cut(str(name))} must be a number, got {shown(value)}") from None
