"""The search problem: how the metrics of an evaluation become values to compare."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from search.problem.budget import Budget
from search.problem.costs import FREE_COSTS
from search.problem.evaluation import Job, Outcome, Record, describe
from search.problem.objectives import Objective, first_measured
from space.arch import Arch
from space.space import SearchSpace
from space.utils.errors import near
from supernet.tasks.registry import directions as task_directions

# Recorded for every arch, whatever the objectives are.
COSTS = ("macs", "params", "tokens")


@dataclass(frozen=True)
class Problem:
    """A search space with objectives and budgets.

    Args:
        space: Search space.
        objectives: Quantities to maximise or minimise.
        budget: Budgets.
        tables: Digests of the latency tables that costs come from, by name of the cost.
        directions: Directions of the evaluation's metrics, by name.
    """

    space: SearchSpace
    objectives: tuple[Objective, ...]
    budget: Budget = field(default_factory=Budget)
    tables: Mapping[str, str] = field(default_factory=dict)
    directions: Mapping[str, str] = field(default_factory=task_directions)

    @property
    def measured(self) -> tuple[str, ...]:
        """Names of the metrics that every evaluation must give."""
        names = [objective.name for objective in self.objectives if objective.measured]
        names += [constraint.name for constraint in self.budget.constraints]
        return tuple(dict.fromkeys(names))

    @property
    def ranked_by(self) -> Objective | None:
        """The objective that ranks archs: the first measured one; None without one."""
        return first_measured(self.objectives)

    @property
    def latencies(self) -> dict[str, Callable[[Arch], float]]:
        """Functions that predict latencies, by name of the cost."""
        found = {limit.name: limit.of for limit in self.budget.limits}
        found |= {each.name: each.function for each in self.objectives if each.function}
        return {name: found[name] for name in self.tables}

    def costs(self, arch: Arch) -> dict[str, float]:
        """Compute what needs no evaluation: free costs, function objectives, budgeted costs."""
        names = [*COSTS, *(each.name for each in self.objectives if each.name in FREE_COSTS)]
        found = {name: float(FREE_COSTS[name].of(arch, self.space.shape)) for name in names}
        for objective in self.objectives:
            if objective.function is not None:
                found[objective.name] = float(objective.function(arch))
        return found | {limit.name: float(limit.of(arch)) for limit in self.budget.limits}

    def judge(self, job: Job, outcome: Outcome, number: int, reused: bool = False) -> Record:
        """Make the record of an outcome; a metric that is missing or not finite is a failure."""
        error, metrics = outcome.error, dict(outcome.metrics)
        if error is None:
            error = self.lacking(metrics)
        if error is None:
            try:
                metrics |= self.costs(job.arch)
                error = self._not_finite(metrics)
            except Exception as raised:
                error = describe(raised)
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
            {name: each for name, each in outcome.groups.items() if name in self.measured},
        )

    def lacking(self, metrics: Mapping[str, float]) -> str | None:
        """Describe the first required metric that an evaluation lacks; None where it has all."""
        for name in self.measured:
            if name not in metrics:
                given = ", ".join(metrics) or "nothing"
                return f"the evaluation gives no {name!r}, only {given}{near(name, list(metrics))}"
        return None

    def _not_finite(self, metrics: Mapping[str, float]) -> str | None:
        names = dict.fromkeys((*(each.name for each in self.objectives), *self.measured))
        bad = [f"{name} is {metrics[name]}" for name in names if not math.isfinite(metrics[name])]
        return ", ".join(bad) or None
