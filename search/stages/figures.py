"""How quick retrained networks are, beside each other: into their arch files, and for a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from search.latency.costs import is_latency
from search.latency.table import LatencyTable
from search.stages.places import ARCH, WEIGHTS
from search.stages.setup import Setup
from search.stages.speed import images_per_second
from search.stages.timing import knows, time_archs
from space.arch_file import load_arch_file
from space.cost import macs, params
from supernet.models.subnet import create_subnet

SPEED = "images_per_second"


def add_figures(
    places: Mapping[str, Path],
    setup: Setup,
    tables: Mapping[str, LatencyTable],
    *,
    amp: bool,
    write: Callable[..., None],
    console: Console,
) -> None:
    """Images/s of all, and milliseconds where the search has latency tables; once.

    Args:
        places: folders of networks that are complete, by name.
        setup: of the run.
        tables: that the search rests on, by the name of the cost.
        amp: bfloat16 autocast on GPUs, for the images/s.
        write: writes an arch file: `write(path, arch, metrics=..., origin=...)`.
        console: is told of devices that are elsewhere.
    """
    files = {name: load_arch_file(place / ARCH) for name, place in places.items()}
    metrics = {name: dict(file.metrics) for name, file in files.items()}

    def written() -> None:
        for name, file in files.items():
            write(places[name] / ARCH, file.arch, metrics=metrics[name], origin=file.origin)

    if not all(SPEED in known for known in metrics.values()):
        subnets = {
            name: create_subnet(place / ARCH, place / WEIGHTS).to(setup.device).eval()
            for name, place in places.items()
        }
        for name, speed in images_per_second(subnets, amp).items():
            metrics[name][SPEED] = speed
        written()
    if not all(knows(known, tables) for known in metrics.values()):
        archs = (file.arch for file in files.values())
        latencies = time_archs(archs, setup.supernet, tables, console)
        for name, file in files.items():
            metrics[name] |= latencies[setup.supernet.space.identity(file.arch)]
        written()


def row(name: str, path: Path) -> dict[str, Any]:
    """A network's row: accuracy with either weights, what it costs, how quick it is.

    Args:
        name: of the network.
        path: its arch file, with its figures.
    """
    file = load_arch_file(path)
    return {
        "network": name,
        "top1 inherited": file.metrics["inherited"]["top1"],
        "top1 retrained": file.metrics["retrained"]["top1"],
        "MACs": macs(file.arch, file.shape),
        "parameters": params(file.arch, file.shape),
        "images/s": file.metrics[SPEED]["value"],
        **latency_cells(file.metrics),
    }


def latency_cells(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Milliseconds of an arch file's metrics, by a title that says if they are predicted alone."""
    found = {
        name: each for name, each in metrics.items() if is_latency(name) and isinstance(each, dict)
    }
    return {
        name if each.get("measured") else f"{name}, predicted": each.get("value")
        for name, each in found.items()
    }
