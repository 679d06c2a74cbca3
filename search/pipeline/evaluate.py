"""Evaluation of networks on the test split, and their interleaved timing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from search.latency.measure import device_name, get_synchronize, make_images, time_interleaved
from search.latency.table import LatencyTable
from search.pipeline.choose import check_names, to_folder_name
from search.pipeline.context import RunContext
from search.pipeline.export import write_arch
from search.pipeline.latencies import time_archs
from search.pipeline.model_card import SUPERNET
from search.pipeline.named_archs import read_archs
from search.pipeline.network_folder import ARCH, WEIGHTS
from search.pipeline.pack import load_subnet
from search.pipeline.predictions import check_predictions, check_save, save_predictions
from search.problem.costs import is_latency
from search.utils.console import print_line, show_rows
from space.arch_file import ArchFile, load_arch_file
from space.cost import backbone_macs, backbone_params, macs, params
from space.utils.errors import InputError
from supernet.evaluation import HeldOut
from supernet.models.subnet import create_subnet
from supernet.precision import autocast

SPEED = "images_per_second"
BATCH = 64
SECONDS_PER_NETWORK = 1.0


def evaluate(run: RunContext, archs: list[str], save: str | None = None) -> list[dict[str, Any]]:
    """Measure accuracy on the test split, MACs, parameters, images/s and known latencies.

    An arch file with weights beside it (of the same name, or in its network's folder) is evaluated
    with them, others with the supernet's.

    Args:
        run: The run, whose supernet is trained.
        archs: Paths of arch files, fronts and folders of them.
        save: Folder for the predicted maps of each network, in folders of their names.

    Returns:
        The rows of the printed table.

    Raises:
        InputError: No paths are given, an arch file is invalid or of another backbone, or the task
            predicts no maps to save.
    """
    if not archs:
        raise InputError("tokennas evaluate needs arch files: --archs a.yaml b.yaml")
    task = None if save is None else check_predictions(run)
    named_archs = read_archs(archs)
    if save is not None:
        names = [each.name for each in named_archs]
        check_names(names)
        check_save(run, Path(save), names)
    run.load_trained()
    loaded = [load_subnet(run, each.path, each.file) for each in named_archs]
    # By the value of the config for networks of its kind.
    inherited = run.decide_autocast(run.config.supernet.amp)
    retrained = run.decide_autocast(run.config.retrain.amp)
    amps = [inherited if source == SUPERNET else retrained for _, source in loaded]
    run.check_images()
    test = HeldOut(run.data.test, run.task, run.device)
    speeds = images_per_second([subnet for subnet, _ in loaded], amps[0])
    rows = [
        {
            "network": each.name,
            "weights": source,
            **test.with_amp(amp).measure(subnet),
            **_costs(each.file, {**each.file.metrics, SPEED: speed}),
        }
        for each, (subnet, source), amp, speed in zip(
            named_archs, loaded, amps, speeds, strict=True
        )
    ]
    show_rows(rows, run.console, title=f"on the test split, {len(test):,} images")
    for each, (subnet, _), amp in zip(named_archs, loaded, amps, strict=True):
        if save is not None and task is not None:
            folder = Path(save) / to_folder_name(each.name)
            count = save_predictions(run, subnet, folder, amp)
            print_line(run.console, f"{folder}: {count:,} predicted maps, {task.image_values}")
    return rows


def _costs(file: ArchFile, metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Compute MACs and parameters, and return them with speed and latencies by column title."""
    latencies = {
        name if each.get("measured") else f"{name}, predicted": each.get("value")
        for name, each in metrics.items()
        if is_latency(name) and isinstance(each, dict)
    }
    costs: dict[str, Any] = {"MACs": macs(file.arch, file.shape)}
    dense = file.shape.has_dense_head
    if dense:
        costs["without head"] = backbone_macs(file.arch, file.shape)
    costs["parameters"] = params(file.arch, file.shape)
    if dense:
        costs["parameters without head"] = backbone_params(file.arch, file.shape)
    return {
        **costs,
        "images/s": metrics[SPEED]["value"],
        **latencies,
    }


def measure_retrained(
    run: RunContext, folders: Mapping[str, Path], tables: Mapping[str, LatencyTable]
) -> list[dict[str, Any]]:
    """Measure images/s, and latencies where the search has tables, for arch files without them.

    Args:
        run: The run, whose supernet is trained.
        folders: Folders of complete networks, by name.
        tables: Latency tables of the search, by name of the cost.

    Returns:
        Table rows of the networks: a metric with inherited and retrained weights, costs and speed.
    """
    files = {name: load_arch_file(folder / ARCH) for name, folder in folders.items()}
    metrics = {name: dict(file.metrics) for name, file in files.items()}
    # If one network lacks figures, all are measured again, interleaved, to be comparable.
    if not all(SPEED in figures for figures in metrics.values()):
        subnets = [
            create_subnet(folder / ARCH, folder / WEIGHTS).to(run.device).eval()
            for folder in folders.values()
        ]
        speeds = images_per_second(subnets, run.decide_autocast(run.config.retrain.amp))
        for name, speed in zip(folders, speeds, strict=True):
            metrics[name][SPEED] = speed
    if not all(tables.keys() <= figures.keys() for figures in metrics.values()):
        archs = (file.arch for file in files.values())
        latencies = time_archs(archs, run.supernet, tables, run.console)
        for name, file in files.items():
            metrics[name] |= latencies[run.space.identity(file.arch)]
    for name, file in files.items():
        if metrics[name] != file.metrics:
            path = folders[name] / ARCH
            write_arch(run, path, file.arch, metrics=metrics[name], origin=file.origin)
    metric = run.task.metrics[0].name
    return [
        {
            "network": name,
            f"{metric} inherited": metrics[name]["inherited"][metric],
            f"{metric} retrained": metrics[name]["retrained"][metric],
            **_costs(file, metrics[name]),
        }
        for name, file in files.items()
    ]


def images_per_second(subnets: Sequence[nn.Module], amp: bool) -> list[dict[str, Any]]:
    """Measure images/s of networks in inference, as medians over about a second for each.

    Args:
        subnets: The networks, one or several, all on one device.
        amp: Whether the networks run under bfloat16 autocast.
    """
    parameter = next(subnets[0].parameters())
    device, wait = parameter.device, get_synchronize(parameter.device)

    def forward(subnet: nn.Module, images: Tensor) -> None:
        with torch.inference_mode(), autocast(device, amp):
            subnet(images)

    runs = {
        i: partial(forward, subnet, make_images(subnet, BATCH)) for i, subnet in enumerate(subnets)
    }
    # The seconds of one round, after the warm-up, determine the number of rounds.
    round_seconds = sum(map(sum, time_interleaved(runs, 1, wait).values()))
    rounds = math.ceil(SECONDS_PER_NETWORK * len(subnets) / round_seconds)
    # Autocast leaves double precision as it is.
    dtype = torch.bfloat16 if amp and parameter.dtype != torch.float64 else parameter.dtype
    conditions = {
        "device": device_name(device),
        "batch": BATCH,
        "dtype": str(dtype).removeprefix("torch."),
    }
    return [
        {"value": round(BATCH / median(taken), 1), **conditions}
        for taken in time_interleaved(runs, rounds, wait, warm_up=0).values()
    ]
