"""The latency tables of a run's search, and measurements under their conditions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch
from rich.console import Console

from search.front.front import Front
from search.front.front_file import FrontEntry
from search.latency.costs import match_tables, read_tables
from search.latency.measure import device_name, make_forward_passes, remove_drift, time_rounds
from search.latency.table import LatencyTable
from search.pipeline.config import Config
from search.pipeline.run_folder import RunFolder
from search.problem.costs import is_latency, measured_name
from search.study.search_file import SEARCH_FILE, SearchFile
from search.utils.console import print_line
from space.arch import Arch
from space.utils.errors import InputError, one_line
from supernet.models.supernet import Supernet

FOLDER = "latency"
ROUNDS = 15
# Fields of the conditions that are written to arch files.
CONDITIONS = ("device", "batch", "dtype", "compiled")
# Allowed relative change of the full network's time since `tokennas profile`.
DRIFT = 0.1


def choose_tables(folder: RunFolder) -> tuple[LatencyTable, ...]:
    """Return the tables of the latencies that budgets and objectives name, if any.

    Candidates are the files that the config names, or else those in the run's folder. Where a bare
    `latency_ms` is ambiguous, the table with which the search began is used.

    Raises:
        InputError: A table is missing, invalid or ambiguous.
    """
    names = _find_latency_names(folder.config)
    if not names:
        return ()
    tables = {table.name: table for table in _read_tables(folder)}
    if not tables:
        raise InputError(
            f"search: {names[0]} needs a latency table, and there is none in "
            f"{folder.path / FOLDER}; measure one with `tokennas profile CONFIG`, or name its file "
            "by --search.latency"
        )
    used = tables_by_cost(folder)
    chosen = {}
    for name in names:
        device = name.partition("@")[2]
        if not device and len(tables) == 1:
            device = next(iter(tables))
        table = tables.get(device) or used.get(name)
        if table is None:
            problem = f"no latency table of {device}" if device else "several latency tables"
            raise InputError(
                f"search: {name}: {problem}; choose one of {', '.join(sorted(tables))}, as in "
                f"latency_ms@{min(tables)}"
            )
        chosen[table.name] = table
    return tuple(chosen.values())


def tables_by_cost(folder: RunFolder) -> dict[str, LatencyTable]:
    """Return the tables that a search has used, by name of the cost, if they still exist.

    Raises:
        InputError: A table is invalid.
    """
    stored = (folder.search / SEARCH_FILE).exists()
    digests = SearchFile.load(folder.search).latency if stored else {}
    return match_tables(_read_tables(folder), digests) if digests else {}


def _find_latency_names(config: Config) -> list[str]:
    """Return the latencies that budgets and objectives name."""
    search = config.search
    budgets = [search.budget] if isinstance(search.budget, str) else search.budget or []
    texts = ",".join([*search.objectives, *budgets]).split(",")
    names = dict.fromkeys(text.partition("=")[0].strip() for text in texts)
    return list(filter(is_latency, names))


def _read_tables(folder: RunFolder) -> tuple[LatencyTable, ...]:
    paths = sorted((folder.path / FOLDER).glob("*.yaml"))
    return read_tables(folder.config.search.latency or paths)


def time_front(
    front: Front,
    earlier: Front | None,
    supernet: Supernet,
    tables: Mapping[str, LatencyTable],
    console: Console,
) -> Front:
    """Return the front with a metric `measured_latency_ms...` for each predicted one.

    The front is thinned out to a readable length. The full network is timed too: if its time has
    changed since the profile, a message says so. Where the device is missing, the metric is too.

    Args:
        front: Front of a search.
        earlier: An earlier front of the search, whose measurements are reused.
        supernet: The searched supernet.
        tables: Latency tables, by name of the cost.
        console: Console for missing devices and drift.
    """
    front = front.thin_out()
    for name, table in tables.items():
        ms = {
            entry.identity: entry.measured[name]
            for entry in (earlier.entries if earlier else ())
            if name in entry.measured
        }
        unmeasured = [entry.arch for entry in front.entries if entry.identity not in ms]
        if unmeasured:
            measured = _measure(name, unmeasured, supernet, table, console)
            if measured is None:
                continue
            ms |= measured
        entries = (
            replace(e, metrics={**e.metrics, measured_name(name): ms[e.identity]})
            for e in front.entries
        )
        front = replace(front, entries=tuple(entries))
    return front


def format_latencies(
    entry: FrontEntry, tables: Mapping[str, LatencyTable]
) -> dict[str, dict[str, Any]]:
    """Return an entry's latencies in the format of arch files, by name of the cost."""
    return {
        name: _to_dict(entry.measured.get(name, entry.metrics[name]), name in entry.measured, table)
        for name, table in tables.items()
        if name in entry.metrics
    }


def time_archs(
    archs: Iterable[Arch],
    supernet: Supernet,
    tables: Mapping[str, LatencyTable],
    console: Console,
) -> dict[str, dict[str, dict[str, Any]]]:
    """Measure archs, or predict their latencies where this machine lacks the device.

    Args:
        archs: Archs that the tables can predict.
        supernet: A supernet of their space; its weights do not matter.
        tables: Latency tables, by name of the cost.
        console: Console for missing devices and drift.

    Returns:
        Latencies in the format of arch files, by the arch's identity and the name of the cost.
    """
    by_identity = {supernet.space.identity(arch): arch for arch in archs}
    latencies: dict[str, dict[str, dict[str, Any]]] = {identity: {} for identity in by_identity}
    for name, table in tables.items():
        ms = _measure(name, by_identity.values(), supernet, table, console)
        for identity, arch in by_identity.items():
            value = table.predict(arch) if ms is None else ms[identity]
            latencies[identity][name] = _to_dict(value, ms is not None, table)
    return latencies


def _to_dict(ms: float, measured: bool, table: LatencyTable) -> dict[str, Any]:
    """Return a latency in the format of arch files."""
    conditions = {key: getattr(table.conditions, key) for key in CONDITIONS}
    return {"value": round(ms, 4), "measured": measured, **conditions}


def _measure(
    name: str,
    archs: Iterable[Arch],
    supernet: Supernet,
    table: LatencyTable,
    console: Console,
) -> dict[str, float] | None:
    """Measure archs and the full network under a table's conditions: milliseconds by identity.

    Returns None if the device is missing or measuring fails: the search itself has succeeded.
    """
    gpus = (f"cuda:{i}" for i in range(torch.cuda.device_count()))
    devices = map(torch.device, ("cpu", *gpus))
    device = next((each for each in devices if device_name(each) == table.conditions.device), None)
    if device is None:
        print_line(console, f"{name}: {table.conditions.device} is not available: predicted only")
        return None
    full = Arch.full(supernet.shape.depth)
    try:
        runs = make_forward_passes(supernet, [full, *archs], table.conditions, device)
        rounds = [*time_rounds(runs, range(ROUNDS), device, console, "timing")]
    except RuntimeError as error:  # out of memory, or torch cannot compile here
        reason = one_line(error)
        print_line(console, f"{name}: cannot be measured, predicted only: {reason}")
        return None
    ms = {identity: 1e3 * timing.seconds for identity, timing in remove_drift(runs, rounds).items()}
    drift = ms[supernet.space.identity(full)] / table.full_ms
    print_line(
        console,
        f"{len(ms)} networks timed on {table.conditions}; the full one takes {drift:.2f} times as "
        "long as when it was profiled",
    )
    if not 1 - DRIFT <= drift <= 1 + DRIFT:
        print_line(console, "The device's speed has changed: profile and search again")
    return ms
