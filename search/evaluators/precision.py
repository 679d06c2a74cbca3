"""The precision of a search's evaluations: the same for all, on workers and after a restart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from supernet.config import Amp
from supernet.precision import DEVICES, decide_autocast

# Key in a search's origin. It is missing where evaluations are those of earlier versions: under
# autocast on GPUs, without it on CPUs.
PRECISION = "precision"


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
    known = None if stored is None else stored.get(PRECISION)
    if amp == "auto" and stored is not None:
        on = {kind: known == "bfloat16" if known else kind == "cuda" for kind in kinds}
    here = on.get(device.type, False)
    name = "bfloat16" if here else "float32"
    unusual = here != (device.type == "cuda") and amp is not False
    return Precision(on, {PRECISION: name} if unusual or name == known else {})
