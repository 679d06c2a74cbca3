"""How long the parts of forward passes take, and what whole passes would have taken."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import torch
from torch import Tensor

from supernet.keeping import Opening


class _Lap(NamedTuple):
    opening: Opening | None
    images: Tensor
    start: Any
    end: Any
    anew: bool


class Stopwatch:
    """Times each opening's last block on each tensor of images, as often as it is run.

    On a GPU by events, which are read later: nothing waits for the device.

    Args:
        device: that the passes run on.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._events = device.type == "cuda"
        self._last: Any = None
        self._anew = False
        self._laps: list[_Lap] = []
        self._passes: list[tuple[list[Opening], Tensor]] = []
        # Of all passes; of what comes after the last opening of each; of the openings of all.
        self._forward = self._ends = self._openings = 0.0
        # Of blocks that were run anew: what they took then, and when they were run to be kept.
        self._fresh = self._before = 0.0

    def start(self, anew: bool) -> None:
        """A pass begins, from the images on where it is `anew`."""
        self._last, self._anew = self._now(), anew

    def lap(self, opening: Opening | None, images: Tensor) -> None:
        """The last block of an opening was run; None for what comes after the last opening."""
        now = self._now()
        self._laps.append(_Lap(opening, images, self._last, now, self._anew))
        self._last = now

    def end(self, path: list[Opening], images: Tensor) -> None:
        """A pass has come to its end, through all openings of `path` or from a later one on."""
        self.lap(None, images)
        self._passes.append((path, images))

    @property
    def seconds(self) -> tuple[float, float]:
        """Seconds of all passes so far, and what they would have taken one by one.

        Of a block that was not run again, what it took when it was run last; corrected by what such
        blocks take in passes anew, since to keep something costs time too.
        """
        laps, passes = self._laps, self._passes
        self._laps, self._passes = [], []
        if laps and self._events:
            laps[-1].end.synchronize()
        for lap in laps:
            seconds = self._between(lap.start, lap.end)
            self._forward += seconds
            if lap.opening is None:
                self._ends += seconds
            elif lap.anew and lap.images in lap.opening.seconds:
                self._fresh += seconds
                self._before += lap.opening.seconds[lap.images]
            else:
                lap.opening.seconds[lap.images] = seconds
        for path, images in passes:
            self._openings += sum(opening.seconds.get(images, 0.0) for opening in path)
        right = self._fresh / self._before if self._before else 1.0
        return self._forward, self._ends + right * self._openings

    def _now(self) -> Any:
        if not self._events:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self._device))
        return event

    def _between(self, start: Any, end: Any) -> float:
        seconds: float = start.elapsed_time(end) / 1e3 if self._events else end - start
        return seconds
