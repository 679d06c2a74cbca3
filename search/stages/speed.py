"""How fast networks are, beside each other."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping
from functools import partial
from statistics import median
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from search.latency.measuring import device_name, images_like, take_turns, waiting_for
from supernet.optimization import autocast

K = TypeVar("K", bound=Hashable)

BATCH = 64
SECONDS = 1.0


def images_per_second(subnets: Mapping[K, nn.Module], amp: bool) -> dict[K, dict[str, Any]]:
    """Images/s of networks in inference, by name: medians over about a second for each.

    Args:
        subnets: all on one device.
        amp: bfloat16 autocast on GPUs.
    """
    if not subnets:
        return {}
    parameter = next(next(iter(subnets.values())).parameters())
    device, half = parameter.device, amp and parameter.device.type == "cuda"
    runs: dict[K, Callable[[], Tensor]] = {
        name: partial(_forward, subnet, images_like(subnet, BATCH), amp)
        for name, subnet in subnets.items()
    }
    wait = waiting_for(device)
    once = sum(map(sum, take_turns(runs, 1, wait).values()))
    rounds = math.ceil(SECONDS * len(subnets) / once)
    conditions = {
        "device": device_name(device),
        "batch": BATCH,
        "dtype": "bfloat16" if half else str(parameter.dtype).removeprefix("torch."),
    }
    return {
        name: {"value": round(BATCH / median(taken), 1), **conditions}
        for name, taken in take_turns(runs, rounds, wait, warm_up=0).items()
    }


def _forward(subnet: nn.Module, images: Tensor, amp: bool) -> Tensor:
    with torch.inference_mode(), autocast(images.device, amp):
        logits: Tensor = subnet(images)
    return logits
