"""How fast networks are, beside each other."""

from __future__ import annotations

import time
from collections.abc import Mapping
from statistics import median
from typing import Any

import torch
from torch import nn

from search.latency.measuring import device_name, images_like, waiting_for
from supernet.precision import autocast

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
    images = images_like(subnet, BATCH)
    wait = waiting_for(images.device)
    wait()
    began = time.perf_counter()
    with autocast(images.device, amp):
        subnet(images)
    wait()
    return time.perf_counter() - began


def _conditions(subnet: nn.Module, amp: bool) -> dict[str, Any]:
    parameter = next(subnet.parameters())
    half = amp and parameter.device.type == "cuda"
    return {
        "device": device_name(parameter.device),
        "batch": BATCH,
        "dtype": "bfloat16" if half else str(parameter.dtype).removeprefix("torch."),
    }
