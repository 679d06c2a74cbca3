"""How fast networks are, beside each other."""

from __future__ import annotations

import time
from collections.abc import Mapping
from statistics import median
from typing import Any

import torch
from torch import nn

from supernet.recipe import autocast

BATCH = 64
SECONDS = 1.0
WARM_UP = 3


def images_per_second(subnets: Mapping[str, nn.Module], amp: bool) -> dict[str, dict[str, Any]]:
    """Images/s of networks in inference, by name.

    They take turns, so that what else the machine does slows all of them; medians over about a
    second for each, after warm-up.

    Args:
        subnets: all on one device.
        amp: bfloat16 autocast on GPUs.
    """
    taken: dict[str, list[float]] = {name: [] for name in subnets}
    with torch.inference_mode():
        for subnet in subnets.values():
            for _ in range(WARM_UP):
                _seconds(subnet, amp)
        while sum(map(sum, taken.values())) < SECONDS * len(subnets):
            for name, subnet in subnets.items():
                taken[name].append(_seconds(subnet, amp))
    return {
        name: {"value": round(BATCH / median(taken[name]), 1), **_conditions(subnet, amp)}
        for name, subnet in subnets.items()
    }


def _seconds(subnet: nn.Module, amp: bool) -> float:
    parameter = next(subnet.parameters())
    size = (BATCH, subnet.in_chans, *subnet.patch_embed.img_size)  # type: ignore[union-attr, misc]
    images = torch.randn(size, device=parameter.device, dtype=parameter.dtype)
    _wait(parameter.device)
    began = time.perf_counter()
    with autocast(parameter.device, amp):
        subnet(images)
    _wait(parameter.device)
    return time.perf_counter() - began


def _conditions(subnet: nn.Module, amp: bool) -> dict[str, Any]:
    parameter = next(subnet.parameters())
    half = amp and parameter.device.type == "cuda"
    return {
        "device": _device_name(parameter.device),
        "batch": BATCH,
        "dtype": "bfloat16" if half else str(parameter.dtype).removeprefix("torch."),
    }


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
