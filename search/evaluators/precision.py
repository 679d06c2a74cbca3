"""The precision of a search's evaluations: the same for all, on workers and after a restart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from supernet.config import Amp
from supernet.precision import DEVICES, decide_autocast

# Entry of a search's origin if its evaluations run under autocast on a CPU.
PRECISION = {"precision": "bfloat16"}


@dataclass(frozen=True)
class Precision:
    """The precision of all evaluations of a search.

    Args:
        autocast: Whether they run under bfloat16 autocast, by type of device: workers may have
            another one than the process that decides.
        origin: Entry of the search's origin.
    """

    autocast: Mapping[str, bool]
    origin: Mapping[str, str]

    def on(self, device: torch.device) -> bool:
        """Return whether evaluations on a device run under autocast."""
        return self.autocast.get(device.type, False)


def decide_precision(
    amp: Amp, device: torch.device, width: int, stored: Mapping[str, Any] | None
) -> Precision:
    """Decide the precision of a search's evaluations.

    Args:
        amp: The user's choice; `auto` for that of the stored evaluations, or where it is faster.
        device: Device of the process that decides.
        width: Width of the supernet.
        stored: Origin of the stored evaluations; None where there are none.
    """
    kinds = {kind: torch.device(kind) for kind in DEVICES}
    on = {kind: decide_autocast(amp, each, width).on for kind, each in kinds.items()}
    stored_entry = stored is not None and PRECISION.items() <= stored.items()
    if amp == "auto" and stored is not None:
        # Searches without the entry evaluated in float32 on CPUs.
        on = {"cpu": stored_entry, "cuda": stored_entry or on["cuda"]}
    marked = on.get(device.type, False) and (device.type == "cpu" or stored_entry)
    return Precision(on, PRECISION if marked else {})
