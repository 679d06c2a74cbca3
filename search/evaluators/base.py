"""The interface of evaluators, and calls of them with failures as outcomes."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any, Protocol, runtime_checkable

from search.evaluators.time_limit import evaluate_within
from search.problem.evaluation import Job, Outcome, describe_exception
from search.problem.objectives import Evaluate
from search.problem.paired_error import GroupedMetrics, groups_of
from space.arch import Arch
from space.utils.errors import cut, shown


@runtime_checkable
class OrderingEvaluator(Protocol):
    """An evaluator that is faster when it knows which archs come next."""

    def __call__(self, arch: Arch) -> Mapping[str, float]:
        """Return metrics by name."""

    def expect(self, archs: Sequence[Arch]) -> Sequence[Arch]:
        """Prepare for the next archs; return them in the fastest order."""


def shares_work(make_evaluate: object) -> bool:
    """Return whether an evaluator's factory declares that evaluations share work."""
    return getattr(make_evaluate, "shares", False) is True


def count_shared_blocks(one: Arch, other: Arch | None) -> int:
    """Count the leading blocks that two archs have in common."""
    pairs = zip(one.blocks, other.blocks, strict=True) if other else ()
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def order_jobs(evaluate: Any, jobs: Sequence[Job]) -> list[Job]:
    """Order jobs as the evaluator prefers."""
    if not isinstance(evaluate, OrderingEvaluator):
        return list(jobs)
    by_arch = {job.arch: job for job in jobs}
    return [by_arch[arch] for arch in evaluate.expect(list(by_arch))]


def evaluate_safely(evaluate: Evaluate, arch: Arch, limit: float | None = None) -> Outcome:
    """Evaluate an arch; exceptions and invalid results become failed outcomes.

    Args:
        evaluate: Evaluation function.
        arch: Arch to evaluate.
        limit: Time limit in seconds; None for no limit.
    """
    started = time.perf_counter()
    metrics: Mapping[str, float] = {}
    error = None
    try:
        metrics = _convert_metrics(evaluate_within(evaluate, arch, limit))
    except Exception as raised:
        error = describe_exception(raised)
    return Outcome(metrics, error, time.perf_counter() - started)


def _convert_metrics(metrics: object) -> GroupedMetrics:
    if not isinstance(metrics, Mapping):
        raise TypeError(f"an evaluation must give a mapping of metrics, got {shown(metrics)}")
    numbers = {}
    for name, value in metrics.items():
        try:
            numbers[str(name)] = float(value)
        except (TypeError, ValueError):
            message = f"metric {cut(str(name))} must be a number, got {shown(value)}"
            raise TypeError(message) from None
    return GroupedMetrics(numbers, groups_of(metrics))
