"""What evaluates archs: how it is called, and told what comes next."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any, Protocol, runtime_checkable

from search.evaluators.time_limit import evaluate_within
from search.problem.evaluation import Job, Outcome, describe
from search.problem.objectives import Evaluate
from search.problem.paired_error import GroupMeans, groups_of
from space.arch import Arch
from space.utils.errors import cut, shown


@runtime_checkable
class Sharing(Protocol):
    """What evaluates archs, and is quicker where it knows which ones come next."""

    def __call__(self, arch: Arch) -> Mapping[str, float]:
        """Metrics by name."""

    def expect(self, archs: Sequence[Arch]) -> Sequence[Arch]:
        """Be told what comes next; gives the order in which it is quickest."""


def shares(make_evaluate: object) -> bool:
    """Whether what is made shares work between evaluations, as far as its maker says."""
    return getattr(make_evaluate, "shares", False) is True


def alike(one: Arch, other: Arch | None) -> int:
    """Blocks that two archs begin with alike."""
    pairs = zip(one.blocks, other.blocks, strict=True) if other else ()
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def in_order(evaluate: Any, jobs: Sequence[Job]) -> list[Job]:
    """Jobs in the order that suits what evaluates, which is told of them."""
    if not isinstance(evaluate, Sharing):
        return list(jobs)
    by_arch = {job.arch: job for job in jobs}
    return [by_arch[arch] for arch in evaluate.expect(list(by_arch))]


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


def _numbers(metrics: object) -> dict[str, float]:
    if not isinstance(metrics, Mapping):
        raise TypeError(f"an evaluation must give a mapping of metrics, got {shown(metrics)}")
    return {str(name): _number(name, value) for name, value in metrics.items()}


def _number(name: object, value: object) -> float:
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise TypeError(f"metric {cut(str(name))} must be a number, got {shown(value)}") from None
