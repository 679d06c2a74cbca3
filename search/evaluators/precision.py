"""The precision of a search's evaluations: the same for all, on workers and after a restart."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from supernet.config import Amp
from supernet.precision import DEVICES, decide_autocast

# Entry of a search's origin: the types of devices on which its evaluations run under autocast.
AUTOCAST = "autocast"
# Those of earlier versions, which wrote no entry.
EARLIER = ("cuda",)


@dataclass(frozen=True)
class Precision:
    """The precision of all evaluations of a search.

    Args:
        autocast: Types of devices on which they run under bfloat16 autocast: workers may have
            another one than the process that decides.
        origin: Entry of the search's origin.
    """

    autocast: Collection[str]
    origin: Mapping[str, Any]

    def on(self, device: torch.device) -> bool:
        """Return whether evaluations on a device run under autocast."""
        return device.type in self.autocast


def decide_precision(
    amp: Amp, kinds: Collection[str], width: int, stored: Mapping[str, Any] | None
) -> Precision:
    """Decide the precision of a search's evaluations.

    Args:
        amp: The user's choice; `auto` for that of the stored evaluations, or where it is faster.
        kinds: Types of devices that evaluations may run on.
        width: Width of the supernet.
        stored: Origin of the stored evaluations; None where there are none. With a choice that
            differs from theirs, the result has another entry.
    """
    decided = [kind for kind in DEVICES if decide_autocast(amp, torch.device(kind), width).on]
    if stored is None:
        return Precision(decided, {AUTOCAST: decided})
    known = stored.get(AUTOCAST)
    entry = {AUTOCAST: known} if isinstance(known, list) else {}
    earlier = known if isinstance(known, list) else EARLIER
    if amp == "auto" or all((kind in decided) == (kind in earlier) for kind in kinds):
        return Precision(earlier, entry)
    if not entry and amp is False:
        # Earlier versions did not store whether autocast was off on GPUs.
        return Precision(decided, entry)
    return Precision(decided, {AUTOCAST: decided})
