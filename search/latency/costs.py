"""Latency tables as free costs: budgets and objectives called `latency_ms`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from search.latency.table import LatencyTable
from search.problem.budget import Budgets, parse_budget
from search.problem.costs import FREE_COSTS, LATENCY, FreeCost, latency_name
from search.problem.objectives import Objective, parse_objectives
from search.problem.problem import Problem
from space.arch import Arch, BlockArch
from space.cost import block_cost, rest_term, total
from space.shape import BackboneShape
from space.space import SearchSpace
from space.state import State
from space.utils.errors import InputError

NS_PER_MS = 1_000_000

Objectives = str | Objective | Iterable[str | Objective]


class LatencyCost:
    """Predicted latency in whole nanoseconds as a sum over blocks, like MACs.

    Args:
        table: The table with the milliseconds of each term.
    """

    def __init__(self, table: LatencyTable) -> None:
        self.shape = table.shape
        self._ns = {term: round(ms / 1e3 * 1e9) for term, ms in table.terms.items()}

    def block(self, state: State, block: BlockArch) -> int:
        """Predict the nanoseconds of a block."""
        terms = block_cost(state, block, self.shape).terms
        return sum(self._ns[term] for term, _ in terms)

    def rest(self, state: State) -> int:
        """Predict the nanoseconds of stem and head."""
        return self._ns[rest_term(state, self.shape)[0]]

    def predict(self, arch: Arch, shape: BackboneShape) -> float:
        """Predict milliseconds, as budgets count them."""
        return total(arch, shape, self) / NS_PER_MS

    def additive(self, shape: BackboneShape) -> LatencyCost:
        """Return the cost of a backbone's archs as a sum over blocks: itself."""
        return self


def read_tables(latency: Iterable[str | Path | LatencyTable]) -> tuple[LatencyTable, ...]:
    """Read tables from their files.

    Raises:
        InputError: A file is invalid, or two tables have the same name.
    """
    sources = [latency] if isinstance(latency, str | Path | LatencyTable) else list(latency)
    tables = tuple(
        each if isinstance(each, LatencyTable) else LatencyTable.load(each) for each in sources
    )
    names = [table.name for table in tables]
    if len(set(names)) < len(names):
        known = ", ".join(names)
        raise InputError(f"latency: two tables of {known} share a name; change `name:` in a file")
    return tables


def latency_costs(tables: Iterable[LatencyTable], space: SearchSpace) -> dict[str, FreeCost]:
    """Make each table the cost `latency_ms@NAME`, and `latency_ms`, which is meant for one table.

    Raises:
        InputError: A table does not cover the archs of the space.
    """
    costs = {}
    for table in tables:
        table.check(space, f"latency table {table.name}")
        cost = LatencyCost(table)
        # Of several tables, the last one; `make_problem` then refuses the bare name.
        for name in (latency_name(table.name), LATENCY):
            costs[name] = FreeCost(cost.predict, cost.additive, NS_PER_MS)
    return costs


def make_problem(
    space: SearchSpace,
    objectives: Objectives,
    budget: Budgets,
    directions: Mapping[str, str],
    tables: Iterable[LatencyTable],
) -> Problem:
    """Make the search problem, with the tables' predicted latencies as free costs.

    Raises:
        InputError: An objective, a budget or a table is invalid.
    """
    tables = tuple(tables)
    latencies = latency_costs(tables, space)
    functions: dict[str, Callable[[Arch], float]] = {
        name: cost.bind(space.shape) for name, cost in latencies.items()
    }
    parsed = parse_objectives(objectives, directions, functions)
    limits = parse_budget(budget, space, parsed, directions, {**FREE_COSTS, **latencies})
    used = {objective.name for objective in parsed}
    used |= {limit.name for limit in limits.limits} | {c.name for c in limits.constraints}
    if len(tables) > 1 and LATENCY in used:
        names = ", ".join(latency_name(table.name) for table in tables)
        raise InputError(f"{LATENCY}: there are several latency tables; choose one of {names}")
    digests = {
        name: digest(table)
        for table in tables
        for name in (LATENCY, latency_name(table.name))
        if name in used
    }
    return Problem(space, parsed, limits, digests, directions)


def match_tables(
    tables: Iterable[LatencyTable], digests: Mapping[str, str]
) -> dict[str, LatencyTable]:
    """Match the latency costs of a search to tables.

    Args:
        tables: Tables of any devices.
        digests: Digests by name of the cost, as in `Problem.tables` and `search.yaml`.
    """
    return {
        name: table
        for name, stored in digests.items()
        for table in tables
        if digest(table) == stored and name in (LATENCY, latency_name(table.name))
    }


def digest(table: LatencyTable) -> str:
    """Hash a table's predictions and conditions."""
    terms = sorted((*term, ms) for term, ms in table.terms.items())
    text = repr((terms, table.full_ms, str(table.conditions)))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
