"""Budgets: limits on the costs and metrics of an arch.

`macs=0.8G`, `flops=1.6G` (1 MAC = 2 FLOPs), `params=12M`, `macs=60%` of the full arch's; with a
latency table also `latency_ms=3.0`, and `latency_ms@NAME=60%` for one of several devices. A budget
on a free cost is checked before an evaluation, one on a metric after it, as a constraint. One on a
free cost may be a range, such as `macs=45%..70%`: cheaper archs are not searched.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from search.problem.costs import FREE_COSTS, LATENCY, FreeCost
from search.problem.objectives import NAME, Direction, Objective, direction_of
from search.utils.units import SCALES, quantity
from space.arch import Arch
from space.cost import AdditiveCost
from space.utils.errors import InputError, is_number, near, shown
from supernet.tasks.registry import directions as task_directions

if TYPE_CHECKING:
    from space.space import SearchSpace

Budgets = str | Iterable[str] | Mapping[str, float | str] | None

COSTS = ", ".join((*FREE_COSTS, "flops"))
NUMBER = re.compile(r"([+-]?(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*([kKMGT%]?)")


@dataclass(frozen=True)
class Limit:
    """A budget on a free cost.

    Args:
        name: Name of the cost.
        most: Upper limit, in the cost's own unit.
        cost: Function that computes the cost of an arch.
        additive: The same cost as a sum over blocks; None if it is no such sum.
        units: Number of units of that sum in one unit of the cost.
        least: Lower limit, in the cost's own unit; 0 for none.
    """

    name: str
    most: float
    cost: Callable[[Arch], float]
    additive: AdditiveCost | None = None
    units: int = 1
    least: float = 0.0

    @property
    def floor(self) -> float:
        """The lower limit in units of the sum over blocks."""
        return self.least if self.units == 1 else math.ceil(self.least * self.units - 1e-3)

    @property
    def ceiling(self) -> float:
        """The limit in units of the sum over blocks."""
        # A per cent of milliseconds, rounded, must not lose the last whole nanosecond.
        return self.most if self.units == 1 else math.floor(self.most * self.units + 1e-3)

    def allows(self, arch: Arch) -> bool:
        """Return whether an arch is inside the limits."""
        cost = self.cost(arch)
        return self.floor <= (cost if self.units == 1 else round(cost * self.units)) <= self.ceiling

    def __str__(self) -> str:
        def amount(factor: int) -> str:
            least = f"{quantity(factor * self.least)}.." if self.least else ""
            return f"{least}{quantity(factor * self.most)}"

        text = f"{self.name}={amount(1)}"
        return f"{text} (flops={amount(2)})" if self.name == "macs" else text


@dataclass(frozen=True)
class Constraint:
    """A budget on a metric: an upper limit, or a lower one where more is better."""

    name: str
    limit: float
    direction: Direction

    def excess(self, metrics: Mapping[str, float]) -> float:
        """Return how far the metric is beyond the limit; 0 or less inside it."""
        beyond = metrics[self.name] - self.limit
        return beyond if self.direction == "min" else -beyond

    def __str__(self) -> str:
        return f"{self.name}{'<=' if self.direction == 'min' else '>='}{quantity(self.limit)}"


@dataclass(frozen=True)
class Budget:
    """All budgets of a search."""

    limits: tuple[Limit, ...] = ()
    constraints: tuple[Constraint, ...] = ()

    def inside(self, arch: Arch) -> bool:
        """Return whether an arch is inside every budget on a free cost."""
        return all(limit.allows(arch) for limit in self.limits)

    def within(self, other: Budget) -> Budget:
        """Return the budget that both limit; a cost of both is limited once, the tighter way."""
        limits = {limit.name: limit for limit in self.limits}
        for limit in other.limits:
            mine = limits.get(limit.name, limit)
            least, most = max(mine.least, limit.least), min(mine.most, limit.most)
            limits[limit.name] = replace(limit, least=least, most=most)
        constraints = dict.fromkeys((*self.constraints, *other.constraints))
        return Budget(tuple(limits.values()), tuple(constraints))

    def __str__(self) -> str:
        return ", ".join(map(str, (*self.limits, *self.constraints))) or "none"


def parse_budget(
    values: Budgets,
    space: SearchSpace,
    objectives: Iterable[Objective] = (),
    directions: Mapping[str, str] | None = None,
    costs: Mapping[str, FreeCost] = FREE_COSTS,
) -> Budget:
    """Parse budgets from text (`macs=0.8G`, several with commas or as a list) or from a mapping.

    Args:
        values: The budgets; None for no budget.
        space: Search space, whose largest arch is 100%.
        objectives: Objectives, which may have budgets too.
        directions: Directions of the evaluation's metrics by name; None for those of all tasks.
        costs: Free costs by name, predicted latencies included.

    Raises:
        InputError: A name is unknown, an amount is invalid, or a cost is given twice.
    """
    budgets: dict[str, Limit | Constraint] = {}
    objectives = tuple(objectives)
    metrics = {*(task_directions() if directions is None else directions)}
    metrics |= {each.name for each in objectives}
    functions = {each.name: each.function for each in objectives if each.function}
    for name, amount in _parse_pairs(values):
        cost, scale = ("macs", 0.5) if name == "flops" else (name, 1.0)
        if cost in budgets:
            raise InputError(f"budget: {cost!r} is given twice")
        if cost in costs:
            free = costs[cost]
            compute = free.bind(space.shape)
            additive = free.additive(space.shape) if free.additive else None
            least, most = parse_range(name, amount, compute(space.largest()), scale)
            budgets[cost] = Limit(cost, most, compute, additive, free.units, least)
        elif cost in functions:
            compute = functions[cost]
            least, most = parse_range(name, amount, compute(space.largest()))
            budgets[cost] = Limit(cost, most, compute, least=least)
        else:
            if cost not in metrics:
                _refuse_typo(cost, [*costs, "flops", *metrics])
            direction = direction_of(cost, objectives, directions)
            budgets[cost] = Constraint(cost, parse_amount(name, amount, None), direction)
    return Budget(
        tuple(each for each in budgets.values() if isinstance(each, Limit)),
        tuple(each for each in budgets.values() if isinstance(each, Constraint)),
    )


def parse_range(name: str, amount: object, full: float, scale: float = 1.0) -> tuple[float, float]:
    """Parse the amount of a budget on a free cost, or a range of two (`45%..70%`).

    Arguments are those of `parse_amount`.

    Returns:
        The lower limit, 0 where there is none, and the upper one.

    Raises:
        InputError: An amount is invalid, or the range is empty.
    """
    first, dots, last = amount.partition("..") if isinstance(amount, str) else ("", "", "")
    if not dots:
        return 0.0, parse_amount(name, amount, full, scale)
    if NUMBER.fullmatch(first.strip() + "%") and not NUMBER.fullmatch(last.strip() + "%"):
        unit = last.strip()[-1]
        raise InputError(
            f"budget {name}: the range {shown(amount)} has a unit at its end alone; write "
            f"{first.strip()}{unit}..{last.strip()}"
        )
    least, most = (parse_amount(name, each, full, scale) for each in (first, last))
    if least > most:
        raise InputError(f"budget {name}: the range {shown(amount)} is empty; the first is larger")
    return least, most


def parse_amount(name: str, amount: object, full: float | None, scale: float = 1.0) -> float:
    """Parse the amount of a budget: 0.8G, 12M, 3.0 or 60%.

    Args:
        name: Name of the budget, for error messages.
        amount: Number, or text with a suffix.
        full: Cost of the full arch, which is 100%; None where it is unknown.
        scale: Factor from the amount's unit to the cost's.

    Raises:
        InputError: The amount is invalid.
    """
    value, unit = amount, ""
    if isinstance(amount, str):
        match = NUMBER.fullmatch(amount.strip())
        value, unit = (float(match[1].replace("_", "")), match[2]) if match else (None, "")
    if not is_number(value) or value <= 0:
        raise InputError(
            f"budget {name}: must be a number such as 0.8G, 12M or 60%, over 0, got {shown(amount)}"
        )
    if unit != "%":
        return float(value) * SCALES[unit] * scale
    if full is None:
        raise InputError(f"budget {name}: per cent needs a free cost: {COSTS}")
    return full * float(value) / 100


def _parse_pairs(values: Budgets) -> Iterable[tuple[str, float | str]]:
    if values is None:
        return []
    if isinstance(values, Mapping):
        return [(str(name), amount) for name, amount in values.items()]
    if not isinstance(values, Iterable):
        raise InputError(f"budget: must be NAME=AMOUNT, one or several, got {shown(values)}")
    texts = [values] if isinstance(values, str) else list(values)
    pairs = []
    for text in ",".join(map(str, texts)).split(","):
        name, equals, amount = (part.strip() for part in text.partition("="))
        if not equals or not NAME.fullmatch(name):
            raise InputError(f"budget: must be NAME=AMOUNT such as macs=0.8G, got {shown(text)}")
        pairs.append((name, amount))
    return pairs


def _refuse_typo(name: str, known: list[str]) -> None:
    """Refuse a name that is close to a known one; any other is a user's own metric."""
    hint = near(name, known) or (near(name, [LATENCY]) if name != LATENCY else "")
    if hint:
        raise InputError(f"budget: unknown {shown(name)}{hint}; costs are {COSTS}")
