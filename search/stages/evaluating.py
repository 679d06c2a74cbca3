"""Figures on the test split, read once per reported network, and how fast a network is."""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median
from typing import Any

import torch
from rich.console import Console
from torch import nn

from search.config import Config
from search.stages.setup import Setup, trained
from search.tables import show_rows
from space.cost import macs, params
from space.errors import InputError
from space.files import ArchFile, load_arch_file
from supernet.evaluation import HeldOut
from supernet.extraction import create_subnet, extract
from supernet.model import check_shape
from supernet.recipe import autocast

SPEED_BATCH = 64
SPEED_SECONDS = 1.0


def evaluate(
    config: Config, file: Path | None, archs: list[str], console: Console
) -> list[dict[str, Any]]:
    """Accuracy on the test split, MACs, parameters and images/s of arch files.

    An arch file with weights beside it (the same name, .safetensors) is judged with them, any
    other one with those of the supernet.

    Raises:
        InputError: an arch file is not right, or belongs to another backbone.
    """
    files = {path: load_arch_file(path) for path in map(Path, archs)}
    setup = trained(config, file)
    test = HeldOut(setup.data.test, setup.task, setup.device, config.supernet.amp)
    rows = []
    for path, arch_file in files.items():
        subnet, source = _subnet(path, arch_file, setup)
        metrics = test.measure(subnet)
        speed = images_per_second(subnet, config.supernet.amp)
        shape, arch = arch_file.shape, arch_file.arch
        rows.append(
            {
                "arch": path.name,
                "weights": source,
                **metrics,
                "macs": macs(arch, shape),
                "params": params(arch, shape),
                "images/s": speed["value"],
            }
        )
    show_rows(rows, console)
    return rows


def images_per_second(subnet: nn.Module, amp: bool) -> dict[str, Any]:
    """Images/s of a network in inference, median over about a second, after warm-up."""
    parameter = next(subnet.parameters())
    size = (SPEED_BATCH, subnet.in_chans, *subnet.patch_embed.img_size)  # type: ignore[union-attr, misc]
    images = torch.randn(size, device=parameter.device, dtype=parameter.dtype)
    times: list[float] = []
    with torch.inference_mode(), autocast(parameter.device, amp):
        for _ in range(3):
            subnet(images)
        while sum(times) < SPEED_SECONDS:
            _wait(parameter.device)
            began = time.perf_counter()
            subnet(images)
            _wait(parameter.device)
            times.append(time.perf_counter() - began)
    half = amp and parameter.device.type == "cuda"
    return {
        "value": round(SPEED_BATCH / median(times), 1),
        "device": _device_name(parameter.device),
        "batch": SPEED_BATCH,
        "dtype": "bfloat16" if half else str(parameter.dtype).removeprefix("torch."),
    }


def _subnet(path: Path, file: ArchFile, setup: Setup) -> tuple[nn.Module, str]:
    weights = path.with_suffix(".safetensors")
    if len(file.classes) not in (0, len(setup.data.classes)):
        raise InputError(
            f"{path}: knows {len(file.classes)} classes, the data {len(setup.data.classes)}"
        )
    if weights.exists():
        subnet = create_subnet(path, weights).to(setup.device).eval()
        return subnet, weights.name
    check_shape(setup.supernet.shape, file.shape, str(path))
    return extract(setup.supernet, file.arch).eval(), "supernet"


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
