"""The front's subnets timed for real, where a device that was budgeted for is at hand."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch
from rich.console import Console

from search.front import Front, FrontEntry
from search.latency.costs import MEASURED, NAME
from search.latency.measuring import device_name, steady, take_turns, waiting_for
from search.latency.subnets import runs_of
from search.latency.table import LatencyTable
from supernet.model import Supernet

ROUNDS = 15


def time_front(
    front: Front,
    earlier: Front | None,
    supernet: Supernet,
    tables: Iterable[LatencyTable],
    console: Console,
) -> Front:
    """The front with the metric `measured_latency_ms@...` beside each predicted one.

    Args:
        front: of a search.
        earlier: the same from before, whose measurements are not made again.
        supernet: that was searched.
        tables: of the devices that were budgeted for.
        console: is told of devices that are elsewhere.
    """
    for table in tables:
        name = next((each for each in (NAME, f"{NAME}@{table.name}") if each in front.full), None)
        device = _device_of(table)
        if name is None:
            continue
        if device is None:
            console.print(
                f"{name}: {table.conditions.device} is not at hand; its figures are predicted",
                markup=False,
                soft_wrap=True,
            )
            continue
        known = {
            entry.identity: entry.metrics[MEASURED + name]
            for entry in (earlier.entries if earlier else ())
            if MEASURED + name in entry.metrics
        }
        left = [entry for entry in front.entries if entry.identity not in known]
        if left:
            known |= _time(left, supernet, table, device)
        front = _with(front, MEASURED + name, known)
    return front


def latencies_of(entry: FrontEntry, tables: Iterable[LatencyTable]) -> dict[str, dict[str, Any]]:
    """What an arch file says of latencies: milliseconds of a batch, and on what.

    Args:
        entry: of a front.
        tables: of the devices that were budgeted for.
    """
    found = {}
    for table in tables:
        for name in (NAME, f"{NAME}@{table.name}"):
            if name in entry.metrics:
                measured = entry.metrics.get(MEASURED + name)
                conditions = table.conditions.to_dict()
                found[name] = {
                    "value": round(entry.metrics[name] if measured is None else measured, 4),
                    "measured": measured is not None,
                    **{key: conditions[key] for key in ("device", "batch", "dtype", "compiled")},
                }
    return found


def marks(front: Front, limits: Mapping[str, float]) -> list[str]:
    """For each entry what a measurement says of its budgets: over, or nothing.

    Args:
        front: with measurements.
        limits: of latencies, by the name of the cost.
    """
    return [
        ", ".join(
            f"{name} is over by {entry.metrics[MEASURED + name] / most - 1:.1%}"
            for name, most in limits.items()
            if entry.metrics.get(MEASURED + name, 0.0) > most
        )
        for entry in front.entries
    ]


def _device_of(table: LatencyTable) -> torch.device | None:
    """The device of a table, where this machine has it."""
    kinds = ["cpu", *["cuda"] * torch.cuda.is_available()]
    devices = map(torch.device, kinds)
    return next((each for each in devices if device_name(each) == table.conditions.device), None)


def _time(
    entries: Iterable[FrontEntry], supernet: Supernet, table: LatencyTable, device: torch.device
) -> dict[str, float]:
    """Milliseconds by identity, under a table's conditions."""
    here = next(supernet.parameters()).device
    try:
        runs: Mapping[str, Callable[[], object]] = runs_of(
            supernet.to(device), (entry.arch for entry in entries), table.conditions
        )
        taken = take_turns(runs, ROUNDS, waiting_for(device))
    finally:
        supernet.to(here)
    return {name: 1e3 * timing.seconds for name, timing in steady(taken).items()}


def _with(front: Front, name: str, values: Mapping[str, float]) -> Front:
    """The front with one more metric of its entries."""
    entries = (
        replace(entry, metrics={**entry.metrics, name: values[entry.identity]})
        for entry in front.entries
    )
    return replace(front, entries=tuple(entries))
