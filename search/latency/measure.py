"""Interleaved timing of networks, on the device, batch and precision of their use."""

from __future__ import annotations

import platform
import random
import re
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from statistics import median, quantiles
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import nn

from space.utils.errors import InputError

K = TypeVar("K", bound=Hashable)

WARM_UP = 3
CPU_INFO = Path("/proc/cpuinfo")


class Timing(NamedTuple):
    """Seconds of one forward pass.

    Args:
        seconds: Median.
        spread: Interquartile range, relative to the median.
    """

    seconds: float
    spread: float

    @classmethod
    def of(cls, taken: list[float]) -> Timing:
        """Summarise repeats, two or more."""
        first, _, third = quantiles(taken, n=4)
        return cls(median(taken), (third - first) / median(taken))


def take_turns(
    runs: Mapping[K, Callable[[], object]],
    rounds: int,
    wait: Callable[[], None],
    warm_up: int = WARM_UP,
    seed: int = 0,
) -> dict[K, list[float]]:
    """Time all runs round by round, so that other load on the machine slows all of them.

    Args:
        runs: Functions to time, by name; each round calls them in a random order.
        rounds: Number of rounds after the warm-up.
        wait: Function that synchronises the device.
        warm_up: Number of rounds that do not count.
        seed: Seed of the orders.

        Returns:
            The seconds of each run in each round.
    """
    taken: dict[K, list[float]] = {name: [] for name in runs}
    order = random.Random(seed)
    for i in range(-warm_up, rounds):
        for name in order.sample(list(runs), len(runs)):
            wait()
            began = time.perf_counter()
            runs[name]()
            wait()
            if i >= 0:
                taken[name].append(time.perf_counter() - began)
    return taken


def steady(taken: Mapping[str, Sequence[float]]) -> dict[str, Timing]:
    """Summarise each run without the rounds' drift: a device that heats up, other load.

    A round's drift is the median over runs of their slowdown in it.
    """
    seconds = np.array(list(taken.values()))
    shares = seconds / np.median(seconds, axis=1, keepdims=True)
    rows = (seconds / np.median(shares, axis=0)).tolist()
    return {name: Timing.of(row) for name, row in zip(taken, rows, strict=True)}


def waiting_for(device: torch.device) -> Callable[[], None]:
    """Return a function that synchronises the device.

    Raises:
        InputError: The device cannot be synchronised.
    """
    if device.type == "cpu":
        return lambda: None
    accelerator = torch.accelerator.current_accelerator()
    if accelerator is None or accelerator.type != device.type:
        raise InputError(f"device: {str(device)!r} cannot be timed; give cpu, or an accelerator")
    return lambda: torch.accelerator.synchronize(device)


def device_name(device: torch.device) -> str:
    """Return the device's name, with the number of threads of a CPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type != "cpu":
        return str(device)
    name = platform.processor() or platform.machine()
    if CPU_INFO.exists():
        found = re.search(r"^model name\s*:(.*)$", CPU_INFO.read_text(), re.MULTILINE)
        name = found[1].strip() if found else name
    threads = torch.get_num_threads()
    return f"{name}, {threads} thread{'s' if threads > 1 else ''}"


def images_like(model: nn.Module, batch: int) -> torch.Tensor:
    """Make random images (B, C, H, W) for a timm VisionTransformer, on its device."""
    parameter = next(model.parameters())
    size = (batch, model.in_chans, *model.patch_embed.img_size)  # type: ignore[union-attr, misc]
    return torch.randn(size, device=parameter.device, dtype=parameter.dtype)
