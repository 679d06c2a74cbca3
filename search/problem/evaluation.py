"""What is evaluated, what comes of it, and what is kept of that."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from search.problem.paired_error import GroupMeans
from space.arch import Arch
from space.utils.errors import InputError, one_line

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


def describe(error: BaseException) -> str:
    """An exception in one line, with the place that raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return one_line(error, typed=True) + place


def reason_of(error: Exception) -> str:
    """Why something could not be done, in a line."""
    return str(error) if isinstance(error, InputError) else describe(error)
