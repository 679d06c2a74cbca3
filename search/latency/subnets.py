"""Forward passes of extracted subnets, to be timed."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch

from search.latency.conditions import Conditions
from search.latency.measure import device_name, make_images
from space.arch import Arch
from supernet.models.subnet import extract
from supernet.models.supernet import Supernet

Forward = Callable[[torch.Tensor], torch.Tensor]


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


def _forward(subnet: Forward, images: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return subnet(images)
