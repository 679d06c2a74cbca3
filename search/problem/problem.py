"""The search problem: search space, objectives and budget."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from search.problem.budget import Budget
from search.problem.costs import FREE_COSTS
from search.problem.evaluation import Job, Outcome, Record, describe_exception
from search.problem.objectives import Objective, first_measured
from search.problem.paired_error import groups_of
from space.arch import Arch
from space.space import SearchSpace
from space.utils.errors import near
from supernet.tasks.registry import directions as task_directions

# Recorded for every arch, with any objectives; with dense heads also the MACs without them.
RECORDED_COSTS = ("macs", "params", "tokens")


@dataclass(frozen=True)
class Problem:
    """A search space with objectives and budgets.

    Args:
        space: Search space.
        objectives: Quantities to maximise or minimise.
        budget: Budgets.
        table_digests: Digests of the latency tables that costs come from, by name of the cost.
        directions: Directions of the evaluation's metrics, by name.
    """

    space: SearchSpace
    objectives: tuple[Objective, ...]
    budget: Budget = field(default_factory=Budget)
    table_digests: Mapping[str, str] = field(default_factory=dict)
    directions: Mapping[str, str] = field(default_factory=task_directions)

    @property
    def required_metrics(self) -> tuple[str, ...]:
        """Names of the metrics that every evaluation must give."""
        names = [objective.name for objective in self.objectives if objective.measured]
        names += [constraint.name for constraint in self.budget.constraints]
        return tuple(dict.fromkeys(names))

    @property
    def ranked_by(self) -> Objective | None:
        """The objective that ranks archs: the first measured one; None if there is none."""
        return first_measured(self.objectives)

    @property
    def latencies(self) -> dict[str, Callable[[Arch], float]]:
        """Functions that predict latencies, by name of the cost."""
        functions = {limit.name: limit.cost for limit in self.budget.limits}
        functions |= {each.name: each.function for each in self.objectives if each.function}
        return {name: functions[name] for name in self.table_digests}

    def costs(self, arch: Arch) -> dict[str, float]:
        """Compute MACs, parameters and tokens, and the costs of objectives and budgets."""
        names = [
            *RECORDED_COSTS,
            *(["backbone_macs"] if self.space.shape.has_dense_head else []),
            *(each.name for each in self.objectives if each.name in FREE_COSTS),
        ]
        costs = {name: float(FREE_COSTS[name].compute(arch, self.space.shape)) for name in names}
        for objective in self.objectives:
            if objective.function is not None:
                costs[objective.name] = float(objective.function(arch))
        return costs | {limit.name: float(limit.cost(arch)) for limit in self.budget.limits}

    def make_record(self, job: Job, outcome: Outcome, number: int, reused: bool = False) -> Record:
        """Make the record of an outcome.

        It has failed if a required metric is missing or not finite; others that are not finite are
        dropped.
        """
        error, metrics = outcome.error, dict(outcome.metrics)
        if error is None:
            error = self.describe_missing(metrics)
        if error is None:
            try:
                metrics |= self.costs(job.arch)
                error = self._describe_non_finite(metrics)
            except Exception as raised:
                error = describe_exception(raised)
        if error is not None:
            return Record(
                number, job.identity, job.arch, {}, None, {}, outcome.seconds, error, reused
            )
        return Record(
            number,
            job.identity,
            job.arch,
            {name: value for name, value in metrics.items() if math.isfinite(value)},
            tuple(metrics[objective.name] for objective in self.objectives),
            {each.name: each.excess(metrics) for each in self.budget.constraints},
            outcome.seconds,
            None,
            reused,
            {
                k: each
                for k, each in groups_of(outcome.metrics).items()
                if k in self.required_metrics
            },
        )

    def describe_missing(self, metrics: Mapping[str, float]) -> str | None:
        """Describe the first required metric that an evaluation lacks; None if it has all."""
        for name in self.required_metrics:
            if name not in metrics:
                names = ", ".join(metrics) or "nothing"
                return f"the evaluation gives no {name!r}, only {names}{near(name, list(metrics))}"
        return None

    def _describe_non_finite(self, metrics: Mapping[str, float]) -> str | None:
        names = dict.fromkeys((*(each.name for each in self.objectives), *self.required_metrics))
        bad = [f"{name} is {metrics[name]}" for name in names if not math.isfinite(metrics[name])]
        return ", ".join(bad) or None
