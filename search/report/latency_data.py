"""The data of a latency table's plot: time against MACs, of archs and of operators."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from search.latency.costs import match_tables
from search.latency.table import LatencyTable
from search.latency.terms import arch_terms
from search.pipeline.run_folder import section
from search.report.search_result import SearchResult
from space.arch import Arch
from space.cost import macs
from space.utils.errors import InputError


class RelativeCost(NamedTuple):
    """MACs and milliseconds of a network, as shares of the full network's."""

    macs: float
    ms: float


class OperatorCost(NamedTuple):
    """An operator's shares of the full network's time and MACs, as means over archs."""

    operator: str
    time: float
    macs: float

    @property
    def excess(self) -> float:
        """Its share of the time beyond its share of the MACs."""
        return self.time - self.macs


@dataclass(frozen=True)
class LatencyData:
    """Data of a latency table's plot.

    Args:
        table: The table.
        archs: The profile's measured archs, spread over the space.
        predicted: Predictions of the front.
        measured: Measurements of the front, as far as there are any.
        limit: Latency budget as a share of the full network's time; None for none.
        operators: The operators, by descending `excess`.
    """

    table: LatencyTable
    archs: Sequence[RelativeCost]
    predicted: Sequence[RelativeCost]
    measured: Sequence[RelativeCost]
    limit: float | None
    operators: Sequence[OperatorCost]


def find_latency_tables(run: Path, config: Mapping[str, Any]) -> list[LatencyTable]:
    """Read the latency tables in a run's folder, and those of its config that still exist.

    Raises:
        InputError: A file is invalid.
    """
    paths = sorted((run / "latency").glob("*.yaml"))
    configured = section(config, "search").get("latency")
    if isinstance(configured, list):
        paths += filter(Path.exists, map(Path, map(str, configured)))
    return list({table.name: table for table in map(LatencyTable.load, paths)}.values())


def collect_latency_data(
    table: LatencyTable, search: SearchResult | None = None
) -> LatencyData | None:
    """Collect the data of a table's archs and of a search's front.

    Args:
        table: The latency table of a device.
        search: A search, which may have used other devices.

    Returns:
        The data; None if the search is of another backbone or head.
    """
    shape = table.shape
    full_macs = macs(Arch.full(shape.depth), shape)

    def to_relative(arch: Arch, ms: float) -> RelativeCost:
        return RelativeCost(macs(arch, shape) / full_macs, ms / table.full_ms)

    predicted, measured, limit = [], [], None
    if search is not None:
        if table.find_difference(search.front.shape):
            return None
        cost = next(iter(match_tables([table], search.tables)), "")
        if cost in search.limits:
            limit = search.limits[cost] / table.full_ms
        for entry in search.front.entries:
            with suppress(InputError):  # The table may lack a term of the arch.
                predicted.append(to_relative(entry.arch, table.predict(entry.arch)))
            if cost in entry.measured:
                measured.append(to_relative(entry.arch, entry.measured[cost]))
    return LatencyData(
        table=table,
        archs=[to_relative(each.arch, each.ms) for each in table.measured],
        predicted=predicted,
        measured=measured,
        limit=limit,
        operators=_sum_operators(table, full_macs),
    )


def _sum_operators(table: LatencyTable, full_macs: int) -> list[OperatorCost]:
    time: defaultdict[str, float] = defaultdict(float)
    work: defaultdict[str, float] = defaultdict(float)
    for each in table.measured:
        for term, term_macs in arch_terms(each.arch, table.shape):
            time[term.operator] += table.terms[term] / table.full_ms / len(table.measured)
            work[term.operator] += term_macs / full_macs / len(table.measured)
    costs = [OperatorCost(name, time[name], work[name]) for name in time]
    return sorted(costs, key=lambda each: -each.excess)
