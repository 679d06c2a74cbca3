"""The front: the non-dominated subnets that a search found."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise, zip_longest
from pathlib import Path
from typing import Any

from search.front.front_file import FrontEntry, FrontFile
from search.front.hypervolume import apply_signs, build_archive, worst_values
from search.problem.budget import Constraint, parse_amount
from search.problem.costs import FREE_COSTS
from search.problem.evaluation import Record
from search.problem.objectives import Direction, Objective, direction_of, first_measured
from search.problem.paired_error import Lead, standard_error
from search.problem.problem import Problem
from search.utils.units import quantity
from space.utils.errors import InputError, near, shown

# Maximum number of blocks of all subnets in a front's file, which people read.
MAX_BLOCKS = 8000


class Front(FrontFile):
    """The non-dominated subnets of a search, the best first.

    The first measured objective ranks them; without one, the first objective.
    """

    @classmethod
    def of(cls, problem: Problem, records: Sequence[Record], ended: str = "") -> Front:
        """Compute the front of finished evaluations, without those beyond a constraint."""
        objectives = problem.objectives
        reference = worst_values(records, objectives)
        archive, steps = build_archive(records, objectives, reference)
        points = set(map(tuple, archive.points.tolist()))
        ranked_by = problem.ranked_by
        rank = 0 if ranked_by is None else objectives.index(ranked_by)
        chosen = {}
        for record in records:
            if record.meets_constraints and record.values:
                point = apply_signs(record.values, objectives)
                if point in points:
                    chosen[(point[rank], *point, record.number)] = record
        ordered = [chosen[key] for key in sorted(chosen)]
        groups = [each.groups.get(ranked_by.name) if ranked_by else None for each in ordered]
        errors = [standard_error(one, other) for one, other in pairwise(groups)]
        images = {each.images for each in groups if each is not None}
        full = _costs_of_full(problem)
        return cls(
            objectives,
            tuple(
                FrontEntry(
                    *(each.arch, each.identity, each.number, each.values or (), each.metrics), error
                )
                for each, error in zip_longest(ordered, errors)
            ),
            problem.space.shape,
            full,
            len(records),
            sum(record.error is not None for record in records),
            reference,
            tuple(steps),
            ended if chosen else f"{ended}; {_explain_empty(problem, records)}",
            images=images.pop() if len(images) == 1 else None,
            directions=dict(problem.directions),
            functions=tuple(o.name for o in objectives if o.function and o.name not in full),
        )

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def ranked_by(self) -> Objective | None:
        """The objective that ranks subnets: the first measured one; None without one.

        `Objective.measured` tells only objectives of this process: a front from a file has lost
        their functions. Those that work on the full arch have a value in `full`, others a name in
        `functions`.
        """
        free = (*self.full, *self.functions)
        return first_measured(each for each in self.objectives if each.name not in free)

    def direction(self, name: str) -> Direction:
        """Return the direction of a metric or cost: limits are lower for "max", upper for "min".

        Costs have upper limits, also where an objective maximises them, as in a search's budget.

        Raises:
            InputError: The direction of the metric is unknown.
        """
        if name in (*self.full, *self.functions):
            return "min"
        return direction_of(name, self.objectives, self.directions)

    def best(self, **limits: float | str) -> FrontEntry | None:
        """Return the best entry within limits such as `macs=0.8e9`, `macs="60%"` or `top1=0.7`.

        Limits are upper ones, or lower ones where more is better. None if no entry is inside.

        Raises:
            InputError: No objective is measured, a name is unknown, or an amount is invalid.
        """
        ranked_by = self.ranked_by
        if ranked_by is None:
            names = ", ".join(each.name for each in self.objectives)
            raise InputError(
                f"front: no objective of its search ({names}) is measured, so that none of its "
                "subnets is the best; search for a metric too, such as top1"
            )
        constraints = [self._constraint(name, amount) for name, amount in limits.items()]
        within = []
        for entry in self.entries:
            values = {
                **self._free_costs(entry, [each.name for each in constraints]),
                **entry.metrics,
            }
            if all(each.name in values and each.excess(values) <= 0 for each in constraints):
                within.append(entry)
        rank = self.objectives.index(ranked_by)
        return min(within, key=lambda entry: ranked_by.sign * entry.values[rank], default=None)

    @property
    def leads(self) -> list[Lead | None]:
        """The lead of each entry over the next best one in the first measured objective.

        None for the last entry, without a measured objective, and if the error is unknown.
        """
        ranked_by = self.ranked_by
        if ranked_by is None:
            return [None] * len(self)
        rank = self.objectives.index(ranked_by)
        # Files of earlier versions list the entries by the first objective.
        ranked = sorted(self.entries, key=lambda entry: ranked_by.sign * entry.values[rank])
        leads = {
            one.identity: Lead(
                ranked_by.name, abs(one.values[rank] - other.values[rank]), one.error
            )
            for one, other in pairwise(ranked)
            if one.error is not None
        }
        return [leads.get(entry.identity) for entry in self.entries]

    def rows(self) -> list[dict[str, Any]]:
        """Tabulate the entries: trial, objectives, then all other metrics."""
        names = dict.fromkeys(objective.name for objective in self.objectives)
        for entry in self.entries:
            names |= dict.fromkeys(entry.metrics)
        return [
            {"trial": entry.trial, **{name: entry.metrics.get(name) for name in names}}
            for entry in self.entries
        ]

    def save(self, path: str | Path) -> None:
        """Write the front, thinned out if it is long (schema tokennas/front/1)."""
        self.thin_out().write(path)

    def thin_out(self) -> Front:
        """Thin out a front that is too long for a file that people read.

        Keeps the best and the last entry, and evenly spaced ones between.
        """
        count, most = len(self.entries), max(2, MAX_BLOCKS // self.shape.depth)
        if count <= most:
            return self
        kept = [self.entries[i * (count - 1) // (most - 1)] for i in range(most)]
        # The next best entry is another one now, so the errors of the leads do not hold.
        entries = tuple(replace(entry, error=None) for entry in kept)
        return replace(self, entries=entries, left_out=self.left_out + count - most)

    def _free_costs(self, entry: FrontEntry, names: Iterable[str]) -> dict[str, float]:
        """Compute those of the named costs that need no evaluation, whether recorded or not."""
        costs = {name: FREE_COSTS[name].compute for name in names if name in FREE_COSTS}
        return {name: float(cost(entry.arch, self.shape)) for name, cost in costs.items()}

    def _constraint(self, name: str, amount: float | str) -> Constraint:
        cost, scale = ("macs", 0.5) if name == "flops" else (name, 1.0)
        objectives = (objective.name for objective in self.objectives)
        known = set(self.full).union(objectives, *(entry.metrics for entry in self.entries))
        if cost not in known:
            names = sorted(known)
            hint = near(name, names) or f"; known are {', '.join(names)}"
            raise InputError(f"front: unknown {shown(name)}{hint}")
        limit = parse_amount(name, amount, self.full.get(cost), scale)
        return Constraint(cost, limit, self.direction(cost))


def _costs_of_full(problem: Problem) -> dict[str, float]:
    """Compute the full arch's costs that need no evaluation, by name."""
    space, full = problem.space, problem.space.largest()
    costs = {name: cost.bind(space.shape) for name, cost in FREE_COSTS.items()}
    costs |= problem.latencies
    values = {name: float(cost(full)) for name, cost in costs.items()}
    for objective in problem.objectives:
        # A user's function may not work on the full arch.
        if objective.function is not None and objective.name not in values:
            with suppress(Exception):
                value = float(objective.function(full))
                if math.isfinite(value):
                    values[objective.name] = value
    return values


def _explain_empty(problem: Problem, records: Sequence[Record]) -> str:
    """Explain why the front is empty, with the evaluation nearest to the constraints.

    Distances to several constraints are added up, each relative to its limit.
    """
    errors = [record.error for record in records if record.error is not None]
    if len(errors) == len(records):
        return f"all failed, the last with {errors[-1]}" if errors else "nothing was evaluated"
    constraints = problem.budget.constraints

    def distances(record: Record) -> dict[str, float]:
        shares = {each.name: record.excess.get(each.name, 0.0) / each.limit for each in constraints}
        return {name: share for name, share in shares.items() if share > 0}

    nearest = min(
        (each for each in records if each.error is None),
        key=lambda record: sum(distances(record).values()),
    )
    nearest_values = ", ".join(
        f"{name}={quantity(nearest.metrics[name])}" for name in distances(nearest)
    )
    return (
        f"none keeps {' and '.join(map(str, constraints))}; trial {nearest.number} "
        f"({nearest.identity[:6]}, {quantity(nearest.metrics['macs'])} MACs) comes nearest: "
        + nearest_values
    )
