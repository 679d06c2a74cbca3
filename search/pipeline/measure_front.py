"""Measuring subnets' latencies, where this machine has the device of a latency table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch
from rich.console import Console
from rich.progress import track

from search.front.front import Front
from search.front.front_file import FrontEntry
from search.latency.measure import WARM_UP, device_name, steady, take_turns, waiting_for
from search.latency.subnets import runs_of
from search.latency.table import LatencyTable
from search.problem.latency_names import measured_name
from search.utils.console import print_line
from space.arch import Arch
from space.utils.errors import one_line
from supernet.models.supernet import Supernet

ROUNDS = 15
# Conditions of the measurement that arch files store.
CONDITIONS = ("device", "batch", "dtype", "compiled")
# Allowed relative change of the full network's time since the profile.
DRIFT = 0.1


def time_front(
    front: Front,
    earlier: Front | None,
    supernet: Supernet,
    tables: Mapping[str, LatencyTable],
    console: Console,
) -> Front:
    """Return the front with a metric `measured_latency_ms...` for each predicted one.

    The full network is timed too, as budgets are shares of its time: a change since the profile is
    reported.

    Args:
        front: Front of a search.
        earlier: An earlier front of the search, whose measurements are reused.
        supernet: The searched supernet.
        tables: Latency tables, by name of the cost.
        console: Console for prediction errors, missing devices and drift.
    """
    front = front.readable()
    for name, table in tables.items():
        known = {
            entry.identity: entry.measured[name]
            for entry in (earlier.entries if earlier else ())
            if name in entry.measured
        }
        left = [entry.arch for entry in front.entries if entry.identity not in known]
        if left:
            found = _measure(name, left, supernet, table, console)
            if found is None:
                continue
            known |= found
        front = _add_metric(front, measured_name(name), known)
        if left:
            print_line(console, _describe_error(front, name))
    return front


def latencies_of(
    entry: FrontEntry, tables: Mapping[str, LatencyTable]
) -> dict[str, dict[str, Any]]:
    """Return an entry's latencies in the format of arch files, by name of the cost."""
    found = {}
    for name, table in tables.items():
        if name in entry.metrics:
            measured = entry.measured.get(name)
            ms = entry.metrics[name] if measured is None else measured
            found[name] = _to_dict(ms, measured is not None, table)
    return found


def has_latencies(metrics: Mapping[str, Any], tables: Mapping[str, LatencyTable]) -> bool:
    """Return whether an arch file's metrics have the latencies of all tables.

    They must be measured ones where this machine has the device.
    """
    for name, table in tables.items():
        found = metrics.get(name)
        if not isinstance(found, Mapping):
            return False
        wanted = _to_dict(0.0, _device_of(table) is not None, table)
        if any(found.get(key) != wanted[key] for key in CONDITIONS):
            return False
        if wanted["measured"] and not found.get("measured"):
            return False
    return True


def time_archs(
    archs: Iterable[Arch],
    supernet: Supernet,
    tables: Mapping[str, LatencyTable],
    console: Console,
) -> dict[str, dict[str, dict[str, Any]]]:
    """Return the latencies of arch files by identity, predicted where a device is missing here.

    Args:
        archs: Archs that the tables can predict.
        supernet: A supernet of their space; its weights do not matter.
        tables: Latency tables, by name of the cost.
        console: Console for missing devices and drift.
    """
    named = {supernet.space.identity(arch): arch for arch in archs}
    found: dict[str, dict[str, dict[str, Any]]] = {identity: {} for identity in named}
    for name, table in tables.items():
        ms = _measure(name, named.values(), supernet, table, console)
        for identity, arch in named.items():
            value = table.predict(arch) if ms is None else ms[identity]
            found[identity][name] = _to_dict(value, ms is not None, table)
    return found


def _to_dict(ms: float, measured: bool, table: LatencyTable) -> dict[str, Any]:
    """Return a latency in the format of arch files."""
    conditions = table.conditions.to_dict()
    return {
        "value": round(ms, 4),
        "measured": measured,
        **{key: conditions[key] for key in CONDITIONS},
    }


def describe_excess(front: Front, limits: Mapping[str, float]) -> list[str]:
    """Describe for each entry by how much it exceeds budgets when measured; empty for none.

    Args:
        front: Front with measurements.
        limits: Limits of latencies, by name of the cost.
    """
    return [
        ", ".join(
            f"{name} is over by {entry.measured[name] / most - 1:.1%}"
            for name, most in limits.items()
            if entry.measured.get(name, 0.0) > most
        )
        for entry in front.entries
    ]


def _device_of(table: LatencyTable) -> torch.device | None:
    """Return the device of a table, or None where this machine lacks it."""
    cards = (f"cuda:{i}" for i in range(torch.cuda.device_count()))
    devices = map(torch.device, ("cpu", *cards))
    return next((each for each in devices if device_name(each) == table.conditions.device), None)


def _measure(
    name: str,
    archs: Iterable[Arch],
    supernet: Supernet,
    table: LatencyTable,
    console: Console,
) -> dict[str, float] | None:
    """Measure milliseconds by identity under a table's conditions, the full network's too.

    None if the device is missing or measuring fails, so that the search's result is kept.
    """
    device = _device_of(table)
    if device is None:
        what = f"{name}: {table.conditions.device}"
        print_line(console, f"{what} is not at hand: predicted alone")
        return None
    full = Arch.full(supernet.shape.depth)
    try:
        taken = _time_rounds([full, *archs], supernet, table, device, console)
    except RuntimeError as error:  # out of memory, or torch cannot compile here
        why = one_line(error)
        print_line(console, f"{table.conditions}: could not be measured, predicted alone: {why}")
        return None
    ms = {identity: 1e3 * timing.seconds for identity, timing in steady(taken).items()}
    drift = ms[next(iter(taken))] / table.full_ms
    print_line(
        console,
        f"{len(ms)} networks timed on {table.conditions}; the full one takes {drift:.2f} of what "
        "it took in the profile",
    )
    if not 1 - DRIFT <= drift <= 1 + DRIFT:
        print_line(console, "The machine is not what it was: make the profile and this search anew")
    return ms


def _time_rounds(
    archs: Iterable[Arch],
    supernet: Supernet,
    table: LatencyTable,
    device: torch.device,
    console: Console,
) -> dict[str, list[float]]:
    """Measure the seconds of each subnet in each round, by identity."""
    here = next(supernet.parameters()).device
    try:
        runs = runs_of(supernet.to(device), archs, table.conditions)
    finally:
        supernet.to(here)
    taken: dict[str, list[float]] = {name: [] for name in runs}
    rounds = track(range(ROUNDS), "timing", console=console, disable=not console.is_terminal)
    for i in rounds:
        found = take_turns(runs, 1, waiting_for(device), 0 if i else WARM_UP, seed=i)
        for name, (seconds,) in found.items():
            taken[name].append(seconds)
    return taken


def _describe_error(front: Front, name: str) -> str:
    """Describe the mean error of the predictions on the front."""
    pairs = [(each.metrics[name], each.measured[name]) for each in front.entries]
    mean = sum(abs(guess / truth - 1) for guess, truth in pairs) / max(len(pairs), 1)
    return f"{name}: predictions are off by {mean:.1%} on the front, on average"


def _add_metric(front: Front, name: str, values: Mapping[str, float]) -> Front:
    """Return the front with one more metric of its entries."""
    entries = (
        replace(entry, metrics={**entry.metrics, name: values[entry.identity]})
        for entry in front.entries
    )
    return replace(front, entries=tuple(entries))
