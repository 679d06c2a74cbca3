"""The precision of computations: bfloat16 autocast, where it is faster, and float32."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor

from supernet.config import Amp

# Narrower networks gain little or nothing on CPUs (docs/performance.md has the measurements).
LEAST_WIDTH = 192
DEVICES = {"cpu": "CPU", "cuda": "GPU"}


class Autocast(NamedTuple):
    """The decision whether a network runs under bfloat16 autocast.

    Args:
        on: Whether it does.
        reason: The reason, for the log.
    """

    on: bool
    reason: str

    def __str__(self) -> str:
        return f"bfloat16 autocast: {'on' if self.on else 'off'} ({self.reason})"


def fast_devices() -> frozenset[str]:
    """Return the types of devices that are fast in bfloat16: `cpu`, `cuda`, both or none.

    CPUs count with matrix instructions (AMX), and AMD's with those of AVX-512, with which Intel's
    are slower than in float32. GPUs also count on machines without one, where those of workers are
    meant.
    """
    cpu = torch.cpu.get_capabilities()
    amd = "AMD" in str(cpu.get("cpu_name"))
    fast = cpu.get("amx_bf16") or (amd and cpu.get("avx512_bf16"))
    devices = {"cpu"} if fast else set()
    if not torch.cuda.is_available() or torch.cuda.is_bf16_supported(including_emulation=False):
        devices.add("cuda")
    return frozenset(devices)


def decide_autocast(
    amp: Amp, device: torch.device, width: int, fast: frozenset[str] | None = None
) -> Autocast:
    """Decide whether a network runs under bfloat16 autocast.

    Args:
        amp: The user's choice, or `auto`.
        device: Device of the network.
        width: Width of the network.
        fast: Result of `fast_devices` on the machine that decides for others; None for this one.
    """
    fast = fast_devices() if fast is None else fast
    kind = DEVICES.get(device.type)
    if kind is None:
        return Autocast(False, f"not used on {device.type}")
    if amp != "auto":
        slow = f", slow: this {kind} has no fast instructions for bfloat16"
        return Autocast(
            amp, f"amp: {str(amp).lower()}{slow if amp and device.type not in fast else ''}"
        )
    if device.type not in fast:
        return Autocast(False, f"auto: this {kind} has no fast instructions for bfloat16")
    if device.type == "cuda":
        return Autocast(True, "auto: on a GPU")
    on = width >= LEAST_WIDTH
    order = "at least" if on else "below"
    return Autocast(on, f"auto: on a CPU, width {width} is {order} {LEAST_WIDTH}")


def autocast(device: torch.device, on: bool) -> AbstractContextManager[Any]:
    """Return bfloat16 autocast on a device if it is on, else a null context."""
    return torch.autocast(device.type, dtype=torch.bfloat16) if on else nullcontext()


def full_precision(x: Tensor) -> AbstractContextManager[Any]:
    """Disable autocast on the device of `x`; the meta device has none."""
    device = x.device.type
    return nullcontext() if device == "meta" else torch.autocast(device, enabled=False)


def at_least_float32(x: Tensor) -> Tensor:
    """Convert half precision to float32; float64 stays float64."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
