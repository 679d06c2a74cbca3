"""Interleaved timing of networks, on the device and with the batch and precision of their use."""

from __future__ import annotations

import copy
import platform
import random
import re
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn

from search.latency.conditions import Conditions
from space.arch import Arch
from space.utils.errors import InputError
from supernet.models.subnet import extract
from supernet.models.supernet import Supernet

K = TypeVar("K", bound=Hashable)
Forward = Callable[[Tensor], Tensor]

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
    def of(cls, seconds: list[float]) -> Timing:
        """Summarise two or more repetitions."""
        first, _, third = quantiles(seconds, n=4)
        return cls(median(seconds), (third - first) / median(seconds))


def time_interleaved(
    runs: Mapping[K, Callable[[], object]],
    rounds: int,
    wait: Callable[[], None],
    warm_up: int = WARM_UP,
    seed: int = 0,
) -> dict[K, list[float]]:
    """Time runs in interleaved rounds, so that other load on the machine slows all of them.

    Args:
        runs: Functions to time, by name; each round calls them in a random order.
        rounds: Number of rounds after the warm-up.
        wait: Function that synchronises the device.
        warm_up: Number of rounds that do not count.
        seed: Seed of the orders.

    Returns:
        The seconds of each run in each round.
    """
    seconds: dict[K, list[float]] = {name: [] for name in runs}
    generator = random.Random(seed)
    for i in range(-warm_up, rounds):
        for name in generator.sample(list(runs), len(runs)):
            wait()
            began = time.perf_counter()
            runs[name]()
            wait()
            if i >= 0:
                seconds[name].append(time.perf_counter() - began)
    return seconds


def time_rounds(
    runs: Mapping[str, Callable[[], object]],
    rounds: range,
    device: torch.device,
    console: Console,
    title: str,
) -> Iterator[list[float]]:
    """Time runs in interleaved rounds, with a progress bar; without a terminal, a line a round.

    Args:
        runs: Functions to time on the device, by name.
        rounds: Numbers of the rounds, which are the seeds of their orders.
        device: The device.
        console: Console for the bar.
        title: Title of the bar.

    Yields:
        The seconds of each run in a round.

    Raises:
        InputError: The device cannot be synchronised.
    """
    wait, warm_up = get_synchronize(device), WARM_UP
    for i in track(rounds, title, console=console, disable=not console.is_terminal):
        timed = time_interleaved(runs, 1, wait, warm_up, seed=i)
        yield [seconds for (seconds,) in timed.values()]
        warm_up = 0
        if not console.is_terminal:
            console.print(f"{title}: round {i + 1} of {rounds.stop}")


def remove_drift(names: Iterable[K], rounds: Sequence[Sequence[float]]) -> dict[K, Timing]:
    """Summarise each run, corrected for drift over rounds: a device that heats up, other load.

    A round's drift is the median over runs of their slowdown in it.

    Args:
        names: Names of the runs.
        rounds: Seconds of each run in each round.
    """
    seconds = np.array(rounds).T
    slowdowns = seconds / np.median(seconds, axis=1, keepdims=True)
    rows = (seconds / np.median(slowdowns, axis=0)).tolist()
    return {name: Timing.of(row) for name, row in zip(names, rows, strict=True)}


def get_synchronize(device: torch.device) -> Callable[[], None]:
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
        match = re.search(r"^model name\s*:(.*)$", CPU_INFO.read_text(), re.MULTILINE)
        name = match[1].strip() if match else name
    threads = torch.get_num_threads()
    return f"{name}, {threads} thread{'s' if threads > 1 else ''}"


def make_images(model: nn.Module, batch: int) -> torch.Tensor:
    """Make random images (B, C, H, W) for a timm VisionTransformer, on its device."""
    parameter = next(model.parameters())
    size = (batch, model.in_chans, *model.patch_embed.img_size)  # type: ignore[union-attr, misc]
    return torch.randn(size, device=parameter.device, dtype=parameter.dtype)


def make_conditions(
    device: torch.device, batch: int, dtype: str | None, compiled: bool
) -> Conditions:
    """Make the conditions of a measurement; the default dtype is the device's usual one.

    Raises:
        InputError: The batch size or the dtype is invalid.
    """
    usual = "bfloat16" if device.type == "cuda" else "float32"
    return Conditions(device_name(device), batch, dtype or usual, compiled)  # type: ignore[arg-type]


def make_forward_passes(
    supernet: Supernet, archs: Iterable[Arch], conditions: Conditions, device: torch.device
) -> dict[str, Callable[[], object]]:
    """Make forward passes of subnets, by identity, which share the supernet's weights.

    Args:
        supernet: Supernet, not modified.
        archs: Archs of its space.
        conditions: Batch size, precision and whether to compile.
        device: Device to run on.
    """
    net = copy.deepcopy(supernet).to(device, getattr(torch, conditions.dtype))
    net.eval().requires_grad_(False)
    images = make_images(net, conditions.batch)
    runs: dict[str, Callable[[], object]] = {}
    for arch in archs:
        subnet: Forward = extract(net, arch, share=True)
        if conditions.compiled:
            subnet = compile_subnet(subnet, images.device)
        runs[supernet.space.identity(arch)] = partial(_forward, subnet, images)
    return runs


def compile_subnet(subnet: Forward, device: torch.device) -> Forward:
    """Compile a subnet as one graph; on a GPU as a CUDA graph, without launch overhead."""
    mode = "reduce-overhead" if device.type == "cuda" else None
    # Subnets share their code: without isolation, each call would check the guards of all others.
    options: dict[str, Any] = {"mode": mode, "isolate_recompiles": True}
    return torch.compile(subnet, fullgraph=True, dynamic=False, **options)


def _forward(subnet: Forward, images: Tensor) -> Tensor:
    with torch.inference_mode():
        return subnet(images)
