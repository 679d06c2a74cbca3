"""Jobs to evaluate, their outcomes, and the records of finished evaluations."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from search.problem.paired_error import GroupMeans
from space.arch import Arch
from space.utils.errors import InputError, one_line

Source = Literal["initial", "retry", "sampler", "uniform"]


@dataclass(frozen=True)
class Job:
    """An arch to evaluate.

    Args:
        identity: Hash of what the arch computes (`SearchSpace.identity`).
        arch: Canonical arch.
        genes: Genes that decode to the arch.
        source: Origin of the proposal: initial archs, retry of a failure, sampler, or uniform draw.
    """

    identity: str
    arch: Arch
    genes: Mapping[str, str]
    source: Source


@dataclass(frozen=True)
class Outcome:
    """The result of an evaluation: metrics, or an error.

    Args:
        metrics: Metrics by name, as `GroupedMetrics` if standard errors are wanted; empty after a
            failure.
        error: Reason for the failure, in one line; None after a success.
        seconds: Duration.
    """

    metrics: Mapping[str, float]
    error: str | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class Record:
    """A finished evaluation.

    Args:
        number: Position in the order of finishing, from 0.
        identity: Hash of what the arch computes (`SearchSpace.identity`).
        arch: Canonical arch.
        metrics: Measured metrics and free costs by name; empty after a failure.
        values: Objective values, in the objectives' order; None after a failure.
        excess: Distance of each constrained metric beyond its limit, by name; 0 or less within it.
        seconds: Duration of the evaluation.
        error: Reason for the failure; None after a success.
        reused: Whether the metrics come from another search.
        groups: Means over fixed groups of images, for standard errors, by metric; may be empty.
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
    def meets_constraints(self) -> bool:
        """Whether the evaluation succeeded and meets every constraint."""
        return self.values is not None and all(value <= 0 for value in self.excess.values())


def describe_exception(error: BaseException) -> str:
    """Format an exception in one line, with the file and line that raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return one_line(error, typed=True) + place


def format_error(error: Exception) -> str:
    """Format an error in one line: an `InputError` as its message, others with type and place."""
    return str(error) if isinstance(error, InputError) else describe_exception(error)
