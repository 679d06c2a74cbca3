"""The precision of computations: autocast and float32."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor


def autocast(device: torch.device, amp: bool) -> AbstractContextManager[Any]:
    """Return bfloat16 autocast on a GPU if `amp` is set, else a null context."""
    if amp and device.type == "cuda":
        return torch.autocast("cuda", dtype=torch.bfloat16)
    return nullcontext()


def full_precision(x: Tensor) -> AbstractContextManager[Any]:
    """Disable autocast on the device of `x`; the meta device has none."""
    device = x.device.type
    return nullcontext() if device == "meta" else torch.autocast(device, enabled=False)


def at_least_float32(x: Tensor) -> Tensor:
    """Convert half precision to float32; float64 stays float64."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
