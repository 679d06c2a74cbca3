"""Archs by an additive cost: counting and uniform drawing inside a band [low, high].

The recursion that counts paths keeps, for each node, a histogram of the costs that its
continuations may still add, in buckets. Bucketed sums drift from exact ones by up to a bucket a
term, so the band is opened by that margin and a draw is rejected on its exact cost: what remains is
exactly uniform. Where that takes too many attempts, `exact_sums` draws from the exact sums.
"""

from __future__ import annotations

from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from space.arch import Arch
from space.cost import AdditiveCost
from space.counting.exact_sums import ExactSums
from space.counting.graph import Graph, greatest_sum, integer_below, least_sum
from space.utils.errors import InputError

Array = np.ndarray[Any, Any]

BINS = 4096
ATTEMPTS = 256
STRATA = 64


class Histogram(NamedTuple):
    """How many continuations add how many buckets: `below[k]` of them under `first` + k."""

    first: int
    below: Array

    def between(self, low: int, high: int) -> int:
        """Continuations that add `low` to `high` buckets, both included."""
        last = len(self.below) - 1
        start = min(max(low - self.first, 0), last)
        stop = min(max(high - self.first + 1, 0), last)
        return int(self.below[stop] - self.below[start]) if stop > start else 0


class Count(NamedTuple):
    """A number of archs, and whether it is exact or an estimate from buckets."""

    value: int
    exact: bool


class Bands:
    """The archs of a graph by `cost`.

    Args:
        graph: the space.
        cost: any additive cost in integers: MACs, or a latency table in nanoseconds.
    """

    def __init__(self, graph: Graph, cost: AdditiveCost) -> None:
        self.graph = graph
        self.costs = graph.edge_costs(cost)
        self.rests = [cost.rest(state) for state in graph.levels[-1]]
        self.low = graph.fold(self.rests, least_sum, self.costs)[0][0]
        self.high = graph.fold(self.rests, greatest_sum, self.costs)[0][0]
        # Counts past 64 bits are Python integers, exact too but larger: fewer buckets hold them.
        small = graph.size < 1 << 63
        self._dtype: type = np.int64 if small else object
        self.width = max(1, (self.high - self.low) // (BINS if small else BINS // 4))
        self._terms = len(graph.edges) + 1 if self.width > 1 else 0

    def sample(self, rng: np.random.Generator, low: float, high: float) -> Arch:
        """Draw uniformly from the archs whose cost lies in [low, high].

        Raises:
            InputError: (a ValueError) no arch lies there.
        """
        arch = self._find(rng, *self._clipped(low, high))
        if arch is None:
            found = "has" if self.count(low, high).exact else "was found with"
            raise InputError(
                f"no arch {found} a cost in [{low:,.0f}, {high:,.0f}]; "
                f"the space reaches from {self.low:,} to {self.high:,}"
            )
        return arch

    def _find(self, rng: np.random.Generator, low: float, high: float) -> Arch | None:
        if not low <= high:  # NaN too
            return None
        arch = self._try(rng, low, high)
        if arch is None and self._between(low, high) and self.exact_sums:
            arch = self.exact_sums.sample(rng, low, high)
        return arch

    def sample_evenly(self, rng: np.random.Generator) -> Arch:
        """Draw so that costs are covered evenly: a stratum of the range first, then inside it."""
        step = (self.high - self.low) / STRATA
        while True:
            low = self.low + step * int(rng.integers(STRATA))
            # The whole space holds its cheapest arch, so some stratum gives one.
            arch = self._try(rng, low, low + step)
            if arch is not None:
                return arch

    def count(self, low: float, high: float) -> Count:
        """The archs with a cost in [low, high]; exact where `exact_sums` fits in memory."""
        low, high = self._clipped(low, high)
        if not low <= high:
            return Count(0, exact=True)
        if self.exact_sums is not None:
            return Count(self.exact_sums.count(low, high), exact=True)
        opened = self._between(low, high)
        inner = self._histograms[0][0].between(
            self._bucket(low), int(high // self.width) - self._terms
        )
        return Count((opened + inner) // 2, exact=False)

    def histogram(self, bins: int) -> list[Count]:
        """Counts of archs in `bins` bands of equal width, from the cheapest to the dearest."""
        span = self.high + 1 - self.low
        edges = [self.low + span * i // bins for i in range(bins + 1)]
        return [self.count(low, high - 1) for low, high in pairwise(edges)]

    @cached_property
    def exact_sums(self) -> ExactSums | None:
        """The exact sums, or None where they do not fit in memory."""
        return ExactSums.build(self.graph, self.costs, self.rests, self._dtype)

    def _try(self, rng: np.random.Generator, low: float, high: float) -> Arch | None:
        window = self._window(low, high)
        total = self._histograms[0][0].between(*window)
        if not total:
            return None
        for _ in range(ATTEMPTS):
            arch, cost = self._draw(integer_below(rng, total), *window)
            if low <= cost <= high:
                return arch
        return None

    def _draw(self, rank: int, low: int, high: int) -> tuple[Arch, int]:
        """The path of that rank among those whose buckets add up to `low` to `high`; its cost."""
        node, cost, blocks = 0, 0, []
        for level, costs, after in zip(
            self.graph.edges, self.costs, self._histograms[1:], strict=True
        ):
            for edge, price in zip(level[node], costs[node], strict=True):
                bucket = price // self.width
                count = after[edge.to].between(low - bucket, high - bucket)
                if rank < count:
                    break
                rank -= count
            blocks.append(edge.block)
            low, high, cost, node = low - bucket, high - bucket, cost + price, edge.to
        return Arch(tuple(blocks)), cost + self.rests[node]

    def _clipped(self, low: float, high: float) -> tuple[float, float]:
        """The band inside the space's range; what is open or beyond 64 bits becomes its end."""
        return max(low, self.low), min(high, self.high)

    def _bucket(self, cost: float) -> int:
        return -int(-cost // self.width)

    def _window(self, low: float, high: float) -> tuple[int, int]:
        """The bucket sums that archs of the band may have: floors lose up to one a term."""
        return self._bucket(low) - self._terms, int(high // self.width)

    def _between(self, low: float, high: float) -> int:
        return self._histograms[0][0].between(*self._window(low, high))

    @cached_property
    def _histograms(self) -> list[list[Histogram]]:
        one: Array = np.array([0, 1], dtype=self._dtype)
        ends = [Histogram(rest // self.width, one) for rest in self.rests]
        return self.graph.fold(ends, self._merge, self.costs)

    def _merge(self, ways: list[tuple[int, Histogram]]) -> Histogram:
        parts = [(after.first + price // self.width, after.below) for price, after in ways]
        first = min(start for start, _ in parts)
        last = max(start + len(below) for start, below in parts)
        below: Array = np.zeros(last - first, dtype=self._dtype)
        for start, part in parts:
            below[start - first : start - first + len(part)] += part
            below[start - first + len(part) :] += part[-1]
        return Histogram(first, below)
