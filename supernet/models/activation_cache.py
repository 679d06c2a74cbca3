"""A cache of the activations after the first blocks of archs, with a byte budget."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from supernet.operators.base import Flow

# Factor by which the weight of a past use decays per evaluation.
USE_DECAY = 0.98
GIB = 1 << 30
# Share of the free GPU memory, or of the memory of the machine; forward passes need the rest.
SHARE = 0.25
MEMORY_LIMIT = Path("/sys/fs/cgroup/memory.max")


class CachedFlow(NamedTuple):
    """Cached activations.

    Args:
        flow: The activations.
        storages: Their storages, by address, with their sizes in bytes. Flows share some: the
            tokens that bypass a run, the features that a head reads.
    """

    flow: Flow
    storages: dict[int, int]


@dataclass(eq=False)
class Prefix:
    """A prefix of archs: their first blocks, with the activations after them.

    Args:
        macs: MACs of its last block, for one image.
        flows: Cached activations, by image tensor.
        expected: Number of expected archs that begin with it.
        uses: Evaluations of archs that begin with it, decayed up to `last_used`.
        last_used: Number of the evaluation that used it last.
    """

    macs: int
    flows: dict[Tensor, CachedFlow] = field(default_factory=dict)
    expected: int = 0
    uses: float = 0.0
    last_used: int = 0

    def decayed_uses(self, evaluation: int) -> float:
        """Return the uses, decayed up to an evaluation."""
        return self.uses * USE_DECAY ** (evaluation - self.last_used)


class ActivationCache:
    """The cached activations of all prefixes, at most `most_bytes`.

    A prefix is worth the MACs that it is likely to save per byte: those of its last block, times
    its expected archs and decayed uses. Its bytes are those that no other prefix holds.

    Args:
        most_bytes: Byte budget; the memory of forward passes themselves is not counted.

    Attributes:
        bytes: Bytes cached.
        evaluations: Number of evaluations so far.
    """

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self.bytes = 0
        self.evaluations = 0
        self._cached: list[Prefix] = []
        # Prefixes that may be evicted, in descending order of worth once they are ranked.
        self._victims: list[Prefix] = []
        self._is_ranked = False
        # By address: how many cached flows hold a storage.
        self._holders: Counter[int] = Counter()
        # Not between a change of the cached flows and that of the counts.
        self._is_counted = True

    def start_evaluation(self, path: Iterable[Prefix]) -> None:
        """Count an evaluation of the arch with these prefixes."""
        self.evaluations += 1
        for prefix in path:
            prefix.uses = prefix.decayed_uses(self.evaluations) + 1
            prefix.last_used = self.evaluations
            prefix.expected = max(0, prefix.expected - 1)
        self._cached = [each for each in dict.fromkeys(self._cached) if each.flows]
        if not self._is_counted:
            self._recount()
        self._victims, self._is_ranked = self._cached.copy(), False

    def add(self, prefix: Prefix, images: Tensor, flow: Flow) -> None:
        """Cache the activations of a prefix, if it is worth more than those to evict for it."""
        cached = CachedFlow(flow, storages(flow))
        if not self._make_room(cached, self._worth(prefix, self._new_bytes(cached))):
            return
        if not prefix.flows:
            self._cached.append(prefix)
        self._is_counted = False
        # Counted before it is stored: an interrupt in between must not exceed the budget.
        self._count(cached)
        prefix.flows[images] = cached
        self._is_counted = True

    def shrink(self) -> None:
        """Empty the cache and halve its byte budget, after the device ran out of memory."""
        for prefix in self._cached:
            prefix.flows.clear()
        self._cached, self._victims = [], []
        self._recount()
        self.most_bytes //= 2

    def _make_room(self, cached: CachedFlow, worth: float) -> bool:
        """Evict activations worth less than `worth` until `cached` fits, if possible."""
        # Counted anew each time: what is evicted may have been shared with it.
        while self.bytes + self._new_bytes(cached) > self.most_bytes:
            if not self._is_ranked:
                self._victims.sort(key=self._cached_worth, reverse=True)
                self._is_ranked = True
            while self._victims and not self._victims[-1].flows:
                self._victims.pop()
            if not self._victims or self._cached_worth(self._victims[-1]) >= worth:
                return False
            self._is_counted = False
            _, evicted = self._victims[-1].flows.popitem()
            self._uncount(evicted)
            self._is_counted = True
        return True

    def _recount(self) -> None:
        """Count anew what is cached."""
        self._holders.clear()
        self.bytes = 0
        for prefix in self._cached:
            for cached in prefix.flows.values():
                self._count(cached)
        self._is_counted = True

    def _count(self, cached: CachedFlow) -> None:
        self.bytes += self._new_bytes(cached)
        self._holders.update(cached.storages.keys())

    def _uncount(self, cached: CachedFlow) -> None:
        self._holders.subtract(cached.storages.keys())
        self.bytes -= self._new_bytes(cached)
        for key in cached.storages:
            if not self._holders[key]:
                del self._holders[key]

    def _new_bytes(self, cached: CachedFlow) -> int:
        """Count the bytes of the storages that no cached flow holds."""
        return sum(size for key, size in cached.storages.items() if not self._holders[key])

    def _cached_worth(self, prefix: Prefix) -> float:
        if not prefix.flows:
            return 0.0
        own = sum(
            size
            for cached in prefix.flows.values()
            for key, size in cached.storages.items()
            if self._holders[key] == 1
        )
        return self._worth(prefix, own / len(prefix.flows))

    def _worth(self, prefix: Prefix, size: float) -> float:
        # Without bytes of its own, evicting it would free nothing.
        uses = prefix.expected + prefix.decayed_uses(self.evaluations)
        return uses * prefix.macs / max(size, 1)


def storages(value: object) -> dict[int, int]:
    """Return the storages of the tensors in nested tuples by address, with their sizes in bytes.

    A view counts as its whole storage, and views of one storage as one.
    """
    if isinstance(value, Tensor):
        storage = value.untyped_storage()
        return {storage.data_ptr(): storage.nbytes()}
    parts = map(storages, value) if isinstance(value, tuple) else ()
    return {key: size for part in parts for key, size in part.items()}


def default_memory_budget(device: torch.device) -> int:
    """Return the default cache budget of a device in bytes.

    GPU: a quarter of the free memory. CPU: 1 GiB per thread, at most the threads' share of a
    quarter of the memory, since there may be as many processes as cores.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(SHARE * free)
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    # A container's limit; the file may be missing, and holds "max" for no limit.
    with suppress(OSError, ValueError):
        memory = min(memory, int(MEMORY_LIMIT.read_text(encoding="ascii")))
    threads = torch.get_num_threads()
    return int(min(GIB * threads, SHARE * memory * threads / (os.cpu_count() or 1)))
