"""The front: the non-dominated subnets that a search found."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from search.front.front_file import FrontEntry, FrontFile
from search.front.hypervolume import follow_archive, signed, worst_values
from search.front.leads import Lead, errors_of, leads_of
from search.problem.budget import Constraint, amount_of
from search.problem.costs import FREE_COSTS
from search.problem.evaluation import Record
from search.problem.objectives import Direction, Objective, direction_of, first_measured
from search.problem.problem import Problem
from search.utils.units import quantity
from space.utils.errors import InputError, near, shown

# That a front's file may hold: some hundred subnets.
MOST_BLOCKS = 8000


class Front(FrontFile):
    """The non-dominated subnets of a search, the best first.

    The best is that of the first objective that is measured: of a cost the best is the smallest.
    """

    @classmethod
    def of(cls, problem: Problem, records: Sequence[Record], ended: str = "") -> Front:
        """The front of finished evaluations; those beyond a constraint are not on it."""
        objectives = problem.objectives
        reference = worst_values(records, objectives)
        archive, steps = follow_archive(records, objectives, reference)
        points = set(archive.points)
        ranked_by = problem.ranked_by
        rank = 0 if ranked_by is None else objectives.index(ranked_by)
        chosen = {}
        for record in records:
            if record.inside and record.values:
                point = signed(record.values, objectives)
                if point in points:
                    chosen[(point[rank], *point, record.number)] = record
        ordered = [record for _, record in sorted(chosen.items(), key=lambda pair: pair[0])]
        errors, images = errors_of(ordered, ranked_by)
        full = _costs_of_full(problem)
        return cls(
            objectives,
            tuple(
                FrontEntry(
                    *(each.arch, each.identity, each.number, each.values or (), each.metrics),
                    errors.get(each.identity),
                )
                for each in ordered
            ),
            problem.space.shape,
            full,
            len(records),
            sum(record.error is not None for record in records),
            reference,
            tuple(steps),
            ended if chosen else f"{ended}; {_why_empty(problem, records)}",
            images=images,
            directions=dict(problem.directions),
            functions=tuple(o.name for o in objectives if o.function and o.name not in full),
        )

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def ranked_by(self) -> Objective | None:
        """What says which subnet is best: the first objective that is measured.

        A file keeps no functions; it keeps what they make of the full arch, or that they fail.
        """
        free = (*self.full, *self.functions)
        return first_measured(each for each in self.objectives if each.name not in free)

    def direction(self, name: str) -> Direction:
        """What a limit on a metric or a cost means: "max" for at least, "min" for at most.

        Of costs it is at most, also where an objective makes them large, as in a search's budget.

        Raises:
            InputError: it is a metric that the search knew no direction of.
        """
        if name in (*self.full, *self.functions):
            return "min"
        return direction_of(name, self.objectives, self.directions)

    def best(self, **limits: float | str) -> FrontEntry | None:
        """The best entry within limits such as `macs=0.8e9`, `macs="60%"` or `top1=0.7`.

        They say how much at most, or at least of what is better large.

        Raises:
            InputError: no objective is measured, a name that the front does not know, or an amount
                that is none.
        """
        ranked_by = self.ranked_by
        if ranked_by is None:
            names = ", ".join(each.name for each in self.objectives)
            raise InputError(
                f"front: no objective of its search ({names}) is measured, so that none of its "
                "subnets is the best; search for a metric too, such as top1"
            )
        constraints = [self._constraint(name, amount) for name, amount in limits.items()]
        within = [
            entry
            for entry in self.entries
            if all(each.name in entry.metrics for each in constraints)
            and all(each.excess(entry.metrics) <= 0 for each in constraints)
        ]
        rank = self.objectives.index(ranked_by)
        return min(within, key=lambda entry: ranked_by.sign * entry.values[rank], default=None)

    @property
    def history(self) -> list[float]:
        """The hypervolume after each evaluation."""
        grown = dict(self.steps)
        volumes, volume = [], 0.0
        for count in range(1, self.evaluations + 1):
            volume = grown.get(count, volume)
            volumes.append(volume)
        return volumes

    @property
    def leads(self) -> list[Lead | None]:
        """The lead of each entry over the one that is next best in the first measured objective.

        None for the last of them, and where the evaluation gave no values of single images.
        """
        found = leads_of(self.entries, self.ranked_by)
        return [found.get(entry.identity) for entry in self.entries]

    def rows(self) -> list[dict[str, Any]]:
        """A table: for each entry its trial, the objectives, and what else is known of it."""
        names = dict.fromkeys(objective.name for objective in self.objectives)
        for entry in self.entries:
            names |= dict.fromkeys(entry.metrics)
        return [
            {"trial": entry.trial, **{name: entry.metrics.get(name) for name in names}}
            for entry in self.entries
        ]

    def save(self, path: str | Path) -> None:
        """Write the front, or what `readable` leaves of it (schema tokennas/front/1)."""
        self.readable().write(path)

    def readable(self) -> Front:
        """The front; where it is too long for a file that people read, a part of it.

        That is the best, the last and an even choice of those between.
        """
        kept = _even(self.entries, max(2, MOST_BLOCKS // self.shape.depth))
        left_out = len(self.entries) - len(kept)
        if left_out:
            # Each has another neighbour now.
            kept = tuple(replace(entry, error=None) for entry in kept)
        return replace(self, entries=kept, left_out=self.left_out + left_out)

    @cached_property
    def _known(self) -> frozenset[str]:
        """The names that limits can have."""
        measured = (entry.metrics for entry in self.entries)
        names = (objective.name for objective in self.objectives)
        return frozenset(self.full).union(names, *measured)

    def _constraint(self, name: str, amount: float | str) -> Constraint:
        cost, scale = ("macs", 0.5) if name == "flops" else (name, 1.0)
        if cost not in self._known:
            known = sorted(self._known)
            hint = near(name, known) or f"; known are {', '.join(known)}"
            raise InputError(f"front: unknown {shown(name)}{hint}")
        limit = amount_of(name, amount, self.full.get(cost), scale)
        return Constraint(cost, limit, self.direction(cost))


def _costs_of_full(problem: Problem) -> dict[str, float]:
    """What the full arch costs, without an evaluation: by name."""
    space, full = problem.space, problem.space.largest()
    costs = {name: cost.at(space.shape) for name, cost in FREE_COSTS.items()}
    costs |= problem.latencies
    found = {name: float(cost(full)) for name, cost in costs.items()}
    for objective in problem.objectives:
        # A function of the user's own may know nothing of the full arch.
        if objective.function is not None and objective.name not in found:
            with suppress(Exception):
                value = float(objective.function(full))
                if math.isfinite(value):
                    found[objective.name] = value
    return found


def _even(entries: tuple[FrontEntry, ...], most: int) -> tuple[FrontEntry, ...]:
    """At most so many entries, with the first and the last."""
    if len(entries) <= most:
        return entries
    return tuple(entries[i * (len(entries) - 1) // (most - 1)] for i in range(most))


def _why_empty(problem: Problem, records: Sequence[Record]) -> str:
    """Why no evaluation is on the front; the one that came nearest, where constraints keep all off.

    Several constraints are summed up, each as a share of its limit.
    """
    errors = [record.error for record in records if record.error is not None]
    if len(errors) == len(records):
        return f"all failed, the last with {errors[-1]}" if errors else "nothing was evaluated"
    constraints = problem.budget.constraints
    whole = [each for each in records if each.values is not None]
    if not whole:
        return "none was evaluated on all images"

    def beyond(record: Record) -> dict[Constraint, float]:
        excess = {each: record.excess.get(each.name, 0.0) for each in constraints}
        return {each: much for each, much in excess.items() if much > 0}

    nearest = min(whole, key=lambda record: sum(m / c.limit for c, m in beyond(record).items()))
    found = ", ".join(
        f"{each.name}={quantity(each.limit + (much if each.direction == 'min' else -much))}"
        for each, much in beyond(nearest).items()
    )
    return (
        f"none keeps {' and '.join(map(str, constraints))}; trial {nearest.number} "
        f"({nearest.identity[:6]}, {quantity(nearest.metrics['macs'])} MACs) comes nearest: {found}"
    )
