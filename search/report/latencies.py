"""MACs against milliseconds: where the two disagree, and which operator does it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

from search.front import Front
from search.latency.costs import MEASURED, NAME, by_cost
from search.latency.table import LatencyTable
from search.latency.terms import arch_terms
from space.arch import Arch
from space.cost import macs
from space.shape import BackboneShape
from space.utils.errors import InputError


class Spot(NamedTuple):
    """A network on the plane, both axes in shares of the full network's."""

    macs: float
    ms: float


class Excess(NamedTuple):
    """What an operator takes beyond its share of the MACs, mean over archs.

    Args:
        operator: its name.
        time: its share of the full network's time.
        macs: its share of the full network's MACs.
    """

    operator: str
    time: float
    macs: float


@dataclass(frozen=True)
class Latencies:
    """What one table says.

    Args:
        device: what the table is called.
        name: of the cost: `latency_ms@cpu`.
        conditions: what was measured on.
        full_ms: the full network's milliseconds.
        archs: measured archs of the profile, which are spread over the space.
        front: predicted, and measured ones where there are any.
        error: how far predictions are off.
        limit: the budget, in shares of the full network's time; None for none.
        excess: operators, the one that takes most beyond its MACs first.
    """

    device: str
    name: str
    conditions: str
    full_ms: float
    archs: tuple[Spot, ...]
    front: tuple[Spot, ...]
    measured: tuple[Spot, ...]
    error: str
    limit: float | None
    excess: tuple[Excess, ...]

    @property
    def saved(self) -> float:
        """Time saved for the MACs saved, mean over the profile's archs."""
        ratios = [(1 - spot.ms) / (1 - spot.macs) for spot in self.archs if spot.macs < 0.99]
        return mean(ratios) if ratios else 1.0


def find_tables(run: Path, config: Mapping[str, Any]) -> tuple[list[LatencyTable], list[str]]:
    """The latency tables of a run, and what is missing of those that its config names.

    Raises:
        InputError: a file is not right.
    """
    search = config.get("search")
    named = search.get("latency") if isinstance(search, dict) else None
    paths = sorted((run / "latency").glob("*.yaml"))
    missing = []
    for each in named if isinstance(named, list) else []:
        if Path(str(each)).exists():
            paths.append(Path(str(each)))
        else:
            missing.append(f"{each} is not there: no picture of its latencies.")
    tables = {table.name: table for table in map(LatencyTable.load, paths)}
    return list(tables.values()), missing


def latencies(
    table: LatencyTable,
    front: Front | None = None,
    limits: Mapping[str, float] | None = None,
    digests: Mapping[str, str] | None = None,
) -> Latencies | None:
    """What a table says of its own archs and of a front; None where it is of another backbone.

    Args:
        table: of a device.
        front: of a search, whose latencies need not be of that device.
        limits: its budgets, by the name of the cost.
        digests: of the tables that it rests on, likewise.
    """
    if front is not None and not _alike(table.shape, front.shape):
        return None
    own = [name for name, each in by_cost([table], digests or {}).items() if each is table]
    name = own[0] if own else f"{NAME}@{table.name}"
    entries = front.entries if front else ()
    limit = limits.get(name) if own and limits else None
    full = table.full_ms
    measured = MEASURED + name
    return Latencies(
        table.name,
        name,
        str(table.conditions),
        full,
        tuple(_spot(table, each.arch, each.ms) for each in table.measured),
        tuple(_predicted(table, (entry.arch for entry in entries))),
        tuple(
            _spot(table, entry.arch, entry.metrics[measured])
            for entry in entries
            if own and measured in entry.metrics
        ),
        str(table.error or "nobody knows how far its predictions are off"),
        None if limit is None else limit / full,
        tuple(_excess(table)),
    )


def _alike(one: BackboneShape, other: BackboneShape) -> bool:
    return (one.depth, one.width, one.grid) == (other.depth, other.width, other.grid)


def _predicted(table: LatencyTable, archs: Iterable[Arch]) -> Iterable[Spot]:
    for arch in archs:
        try:
            yield _spot(table, arch, table.predict(arch))
        except InputError:  # of a space with more choices than were measured
            continue


def _spot(table: LatencyTable, arch: Arch, ms: float) -> Spot:
    full = macs(Arch.full(table.shape.depth), table.shape)
    return Spot(macs(arch, table.shape) / full, ms / table.full_ms)


def _excess(table: LatencyTable) -> Sequence[Excess]:
    full = macs(Arch.full(table.shape.depth), table.shape)
    time: dict[str, float] = {}
    work: dict[str, float] = {}
    for each in table.measured:
        for term, term_macs in arch_terms(each.arch, table.shape):
            operator, share = term.operator, 1 / len(table.measured)
            time[operator] = time.get(operator, 0.0) + share * table.terms[term] / table.full_ms
            work[operator] = work.get(operator, 0.0) + share * term_macs / full
    found = [Excess(name, time[name], work[name]) for name in time]
    return sorted(found, key=lambda each: each.macs - each.time)
