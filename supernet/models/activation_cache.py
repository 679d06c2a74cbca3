"""What is kept of the openings of archs, within a number of bytes: that which is worth most."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from supernet.operators.base import Flow

# A use counts for this much less with every evaluation after it.
FADING = 0.98
# An opening with fewer uses left than this is forgotten: after some 200 evaluations.
FEWEST_USES = 0.02
GIB = 1 << 30
# Of a GPU's memory that is free, or of a machine's: the rest is for passes, and for others.
SHARE = 0.25
LIMIT = Path("/sys/fs/cgroup/memory.max")


@dataclass(eq=False)
class Opening:
    """The first blocks of some archs, and what they leave.

    Args:
        macs: of its last block, for an image.
        flows: what is kept of it, by the images that it was run on.
        awaited: archs to be evaluated next that begin with it.
        uses: evaluations of such archs, as `faded` at `tick`.
        tick: of its last use.
        bytes: of its flows.
    """

    macs: int
    flows: dict[Tensor, Flow] = field(default_factory=dict)
    awaited: int = 0
    uses: float = 0.0
    tick: int = 0
    bytes: int = 0

    def faded(self, tick: int) -> float:
        """Its uses, where old ones count less."""
        return self.uses * FADING ** (tick - self.tick)


class Kept:
    """The flows that are kept, never more than `most_bytes` of them.

    An opening is worth the MACs that it is likely to save: those of its last block, times the archs
    that are known to come and those that came of late, for each byte.

    Args:
        most_bytes: of all flows together; what a pass itself needs is not counted.

    Attributes:
        bytes: that are kept.
        ticks: evaluations so far.
    """

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self.bytes = 0
        self.ticks = 0
        self._openings: list[Opening] = []
        self._victims: list[tuple[float, Opening]] = []

    def begin(self, path: Iterable[Opening]) -> None:
        """An evaluation begins of an arch with these openings."""
        self.ticks += 1
        for opening in path:
            opening.uses = opening.faded(self.ticks) + 1
            opening.tick = self.ticks
            opening.awaited = max(0, opening.awaited - 1)
        self._openings = [each for each in dict.fromkeys(self._openings) if each.flows]
        self.bytes = sum(opening.bytes for opening in self._openings)
        worths = [self._worth(each, each.bytes / len(each.flows)) for each in self._openings]
        pairs = zip(worths, self._openings, strict=True)
        self._victims = sorted(pairs, key=lambda pair: pair[0], reverse=True)

    def keep(self, opening: Opening, images: Tensor, flow: Flow) -> None:
        """Keep what an opening left of some images, where it is worth more than what has to go."""
        size = flow_bytes(flow)
        if not self._make_room(size, self._worth(opening, size)):
            return
        if not opening.flows:
            self._openings.append(opening)
        # Counted first: an evaluation may be interrupted at any place, and must not keep too much.
        self.bytes += size
        opening.bytes += size
        opening.flows[images] = flow

    def shrink(self) -> None:
        """Let go of everything, and keep half as much from now on."""
        for opening in self._openings:
            _drop(opening)
        self._openings, self._victims = [], []
        self.bytes = 0
        self.most_bytes //= 2

    def forgotten(self, opening: Opening) -> bool:
        """Whether nobody went through an opening for long; then nothing is kept of it."""
        if opening.awaited or opening.faded(self.ticks) >= FEWEST_USES:
            return False
        _drop(opening)
        return True

    def _make_room(self, size: int, worth: float) -> bool:
        while self.bytes + size > self.most_bytes:
            while self._victims and not self._victims[-1][1].flows:
                self._victims.pop()
            if not self._victims or self._victims[-1][0] >= worth:
                return False
            victim = self._victims[-1][1]
            _, flow = victim.flows.popitem()
            victim.bytes -= flow_bytes(flow)
            self.bytes -= flow_bytes(flow)
        return True

    def _worth(self, opening: Opening, size: float) -> float:
        return (opening.awaited + opening.faded(self.ticks)) * opening.macs / size


def _drop(opening: Opening) -> None:
    opening.flows.clear()
    opening.bytes = 0


def flow_bytes(flow: Flow) -> int:
    """Bytes of memory that the tensors of a flow hold, with those around a view."""
    return sum(tensor.untyped_storage().nbytes() for tensor in _tensors(flow))


def _tensors(value: object) -> Iterator[Tensor]:
    """The tensors of nested tuples."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple):
        for each in value:
            yield from _tensors(each)


def room(device: torch.device) -> int:
    """Bytes that may be kept on a device.

    Of a GPU a quarter of what is free. On a CPU 1 GiB for each thread, and at most the share of its
    threads in a quarter of the machine's memory, since as many processes as cores may ask.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(SHARE * free)
    threads = torch.get_num_threads()
    return int(min(GIB * threads, SHARE * _memory() * threads / (os.cpu_count() or 1)))


def _memory() -> int:
    """Bytes of memory of the machine, or of the container that this runs in."""
    there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    # Without a limit, or without such a file, the file does not hold a number.
    with suppress(OSError, ValueError):
        return min(there, int(LIMIT.read_text(encoding="ascii")))
    return there
