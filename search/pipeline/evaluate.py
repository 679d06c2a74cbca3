"""Evaluating networks on the test split, and timing them side by side."""

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
from search.pipeline.given_archs import read_archs
from search.pipeline.latencies import time_archs
from search.pipeline.network_folder import ARCH, WEIGHTS
from search.pipeline.pack import load_subnet
from search.problem.latency_names import is_latency
from search.utils.console import show_rows
from space.arch_file import ArchFile, load_arch_file
from space.cost import macs, params
from supernet.evaluation import HeldOut
from supernet.models.subnet import create_subnet
from supernet.training.optimizer import autocast

K = TypeVar("K", bound=Hashable)

SPEED = "images_per_second"
BATCH = 64
SECONDS = 1.0


def evaluate(run: RunContext, archs: list[str]) -> list[dict[str, Any]]:
    """Measure accuracy on the test split, MACs, parameters, images/s and known latencies.

    `archs` are arch files, fronts and folders of them. An arch file with weights beside it (of the
    same name, or in its network's folder) is evaluated with them, others with the supernet's.

    Raises:
        InputError: An arch file is invalid, or of another backbone.
    """
    given = read_archs(archs)
    run.load_trained()
    amp = run.config.supernet.amp
    found = [load_subnet(run, each.path, each.file) for each in given]
    run.check_images()
    test = HeldOut(run.data.test, run.task, run.device, amp)
    speeds = images_per_second(dict(enumerate(subnet for subnet, _ in found)), amp)
    rows = [
        {
            "network": each.name,
            "weights": source,
            **test.measure(subnet),
            **_costs(each.file, speeds[i]),
        }
        for i, (each, (subnet, source)) in enumerate(zip(given, found, strict=True))
    ]
    show_rows(rows, run.console, title=f"on the test split, {len(test):,} images")
    return rows


def row(name: str, path: Path, metric: str) -> dict[str, Any]:
    """Return a retrained network's table row: a metric with either weights, costs and speed.

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
        **_costs(file, file.metrics[SPEED]),
    }


def _costs(file: ArchFile, speed: Mapping[str, Any]) -> dict[str, Any]:
    """Return MACs, parameters, images/s and known latencies, by column title."""
    latencies = {
        name if each.get("measured") else f"{name}, predicted": each.get("value")
        for name, each in file.metrics.items()
        if is_latency(name) and isinstance(each, dict)
    }
    return {
        "MACs": macs(file.arch, file.shape),
        "parameters": params(file.arch, file.shape),
        "images/s": speed["value"],
        **latencies,
    }


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
