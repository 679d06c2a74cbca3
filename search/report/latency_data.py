"""The data of a latency table's plot: where MACs and time disagree, by operator."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

from search.latency.costs import by_cost
from search.latency.table import LatencyTable
from search.latency.terms import arch_terms
from search.pipeline.run_folder import section
from search.problem.latency_names import latency_of
from search.report.search_result import SearchResult
from space.arch import Arch
from space.cost import macs
from space.utils.errors import InputError


class RelativeCost(NamedTuple):
    """MACs and milliseconds of a network, as shares of the full network's."""

    macs: float
    ms: float


class OperatorCost(NamedTuple):
    """An operator's shares of the full network's time and MACs, means over archs."""

    operator: str
    time: float
    macs: float

    @property
    def excess(self) -> float:
        """Its share of the time beyond its share of the MACs."""
        return self.time - self.macs


@dataclass(frozen=True)
class LatencyData:
    """Data of one table's plot.

    Args:
        device: Name of the table.
        cost: Name of the cost, such as `latency_ms@cpu`.
        conditions: Conditions of the measurements.
        full_ms: Milliseconds of the full network.
        error: Error of the predictions, in words.
        archs: The profile's measured archs, spread over the space.
        predicted: The front, as predicted.
        measured: The front, as far as measured.
        limit: The budget as a share of the full network's time; None for none.
        operators: The operators, by falling `excess`.
    """

    device: str
    cost: str
    conditions: str
    full_ms: float
    error: str
    archs: Sequence[RelativeCost]
    predicted: Sequence[RelativeCost]
    measured: Sequence[RelativeCost]
    limit: float | None
    operators: Sequence[OperatorCost]

    @property
    def saved_time(self) -> float:
        """Share of time saved per share of MACs saved, mean over the profile's archs."""
        ratios = [(1 - each.ms) / (1 - each.macs) for each in self.archs if each.macs < 0.99]
        return mean(ratios) if ratios else 1.0


def find_latency_tables(
    run: Path, config: Mapping[str, Any]
) -> tuple[list[LatencyTable], list[str]]:
    """Read the latency tables of a run, and describe those of its config that are missing.

    Raises:
        InputError: A file is invalid.
    """
    paths, missing = sorted((run / "latency").glob("*.yaml")), []
    named = section(config, "search").get("latency")
    for each in named if isinstance(named, list) else []:
        if Path(str(each)).exists():
            paths.append(Path(str(each)))
        else:
            missing.append(f"{each} is not there: no picture of its latencies.")
    tables = {table.name: table for table in map(LatencyTable.load, paths)}
    return list(tables.values()), missing


def collect_latency_data(
    table: LatencyTable, search: SearchResult | None = None
) -> LatencyData | None:
    """Collect the data of a table's archs and of a search's front; None for another backbone.

    Args:
        table: The latency table of a device.
        search: A search, which may have used other devices.
    """
    shape, full_ms = table.shape, table.full_ms
    full_macs = macs(Arch.full(shape.depth), shape)

    def relative(arch: Arch, ms: float) -> RelativeCost:
        return RelativeCost(macs(arch, shape) / full_macs, ms / full_ms)

    def predict(archs: Sequence[Arch]) -> Iterator[RelativeCost]:
        for arch in archs:
            with suppress(InputError):  # the arch has a choice that the profile did not measure
                yield relative(arch, table.predict(arch))

    entries = search.front.entries if search else ()
    limits = search.limits if search else {}
    if search is not None:
        searched = search.front.shape
        if any(getattr(shape, key) != getattr(searched, key) for key in ("depth", "width", "grid")):
            return None
    cost = next(iter(by_cost([table], search.tables if search else {})), None)
    timed = [(entry.arch, entry.measured[cost]) for entry in entries if cost in entry.measured]
    limit = limits.get(cost) if cost else None
    return LatencyData(
        device=table.name,
        cost=cost or latency_of(table.name),
        conditions=str(table.conditions),
        full_ms=full_ms,
        error=str(table.error or "nobody knows how far its predictions are off"),
        archs=[relative(each.arch, each.ms) for each in table.measured],
        predicted=list(predict([entry.arch for entry in entries])),
        measured=[relative(arch, ms) for arch, ms in timed],
        limit=None if limit is None else limit / full_ms,
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
