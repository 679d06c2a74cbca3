"""How much memory there is to keep things in."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import torch

GIB = 1 << 30
# Of a GPU's memory that is free, or of a machine's: the rest is for passes, and for others.
SHARE = 0.25
LIMIT = Path("/sys/fs/cgroup/memory.max")


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
