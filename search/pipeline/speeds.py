"""Speed of retrained networks, measured side by side, in their arch files and in tables."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from search.latency.measure import device_name, images_like, take_turns, waiting_for
from search.latency.table import LatencyTable
from search.pipeline.context import RunContext
from search.pipeline.export import write_arch
from search.pipeline.measure_front import time_archs
from search.pipeline.network_folder import ARCH, WEIGHTS
from search.problem.latency_names import is_latency
from space.arch_file import load_arch_file
from space.cost import macs, params
from supernet.models.subnet import create_subnet
from supernet.training.optimizer import autocast

K = TypeVar("K", bound=Hashable)

SPEED = "images_per_second"
BATCH = 64
SECONDS = 1.0


def add_figures(
    run: RunContext, places: Mapping[str, Path], tables: Mapping[str, LatencyTable]
) -> None:
    """Add images/s, and latencies where the search has tables, to arch files that lack them.

    Args:
        run: The run, whose supernet is trained.
        places: Folders of complete networks, by name.
        tables: Latency tables of the search, by name of the cost.
    """
    space = run.supernet.space
    files = {name: load_arch_file(place / ARCH) for name, place in places.items()}
    metrics = {name: dict(file.metrics) for name, file in files.items()}
    # If one network lacks figures, all are measured, side by side.
    if not all(SPEED in known for known in metrics.values()):
        subnets = {
            name: create_subnet(place / ARCH, place / WEIGHTS).to(run.device).eval()
            for name, place in places.items()
        }
        for name, speed in images_per_second(subnets, run.config.retrain.amp).items():
            metrics[name][SPEED] = speed
    if not all(tables.keys() <= known.keys() for known in metrics.values()):
        archs = (file.arch for file in files.values())
        latencies = time_archs(archs, run.supernet, tables, run.console)
        for name, file in files.items():
            metrics[name] |= latencies[space.identity(file.arch)]
    for name, file in files.items():
        if metrics[name] != file.metrics:
            path = places[name] / ARCH
            write_arch(run, path, file.arch, metrics=metrics[name], origin=file.origin)


def row(name: str, path: Path, metric: str) -> dict[str, Any]:
    """Return a network's table row: a metric with either weights, costs and speed.

    Args:
        name: Name of the network.
        path: Its arch file, with its figures.
        metric: Name of the metric.
    """
    file = load_arch_file(path)
    return {
        "network": name,
        f"{metric} inherited": file.metrics["inherited"][metric],
        f"{metric} retrained": file.metrics["retrained"][metric],
        "MACs": macs(file.arch, file.shape),
        "parameters": params(file.arch, file.shape),
        "images/s": file.metrics[SPEED]["value"],
        **latency_cells(file.metrics),
    }


def latency_cells(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return the latencies of an arch file's metrics by column title, which marks predictions."""
    return {
        name if each.get("measured") else f"{name}, predicted": each.get("value")
        for name, each in metrics.items()
        if is_latency(name) and isinstance(each, dict)
    }


def images_per_second(subnets: Mapping[K, nn.Module], amp: bool) -> dict[K, dict[str, Any]]:
    """Measure images/s of networks in inference: medians over about a second for each.

    Args:
        subnets: The networks, all on one device.
        amp: Whether to use bfloat16 autocast on GPUs.
    """
    if not subnets:
        return {}
    parameter = next(next(iter(subnets.values())).parameters())
    device, wait = parameter.device, waiting_for(parameter.device)

    def forward(subnet: nn.Module, images: Tensor) -> None:
        with torch.inference_mode(), autocast(device, amp):
            subnet(images)

    runs = {
        name: partial(forward, subnet, images_like(subnet, BATCH))
        for name, subnet in subnets.items()
    }
    # The seconds of one round, after the warm-up, set the number of rounds.
    once = sum(map(sum, take_turns(runs, 1, wait).values()))
    rounds = math.ceil(SECONDS * len(subnets) / once)
    half = amp and device.type == "cuda"
    conditions = {
        "device": device_name(device),
        "batch": BATCH,
        "dtype": "bfloat16" if half else str(parameter.dtype).removeprefix("torch."),
    }
    return {
        name: {"value": round(BATCH / median(taken), 1), **conditions}
        for name, taken in take_turns(runs, rounds, wait, warm_up=0).items()
    }
