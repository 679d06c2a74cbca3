"""Counting and uniform sampling of archs inside a band [low, high] of an additive cost.

Each node of the graph gets a histogram of the costs of its continuations. A sum of buckets is off
by up to one bucket per term, so the band is widened by that margin, and samples outside the exact
band are rejected, which keeps the sampling uniform. After too many rejections `exact_sums` is used.
"""

from __future__ import annotations

from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from space.arch import Arch
from space.cost import AdditiveCost
from space.counting.exact_sums import Array, ExactSums
from space.counting.graph import Graph, integer_below, least_sum
from space.utils.errors import InputError

BINS = 4096  # buckets over the range of costs
ATTEMPTS = 256  # rejections before exact sums are used
STRATA = 64  # parts of the range of costs, for sample_evenly


class Histogram(NamedTuple):
    """A cumulative histogram: `below[k]` continuations cost less than bucket `first + k`."""

    first: int
    below: Array

    def between(self, low: int, high: int) -> int:
        """Count the continuations in the buckets `low` to `high`, both included."""
        last = len(self.below) - 1
        start = min(max(low - self.first, 0), last)
        stop = min(max(high - self.first + 1, 0), last)
        return int(self.below[stop] - self.below[start]) if stop > start else 0


class Count(NamedTuple):
    """A number of archs, exact or estimated from buckets."""

    value: int
    exact: bool


class Bands:
    """The archs of a graph by an additive cost, to count and sample them inside a band of it.

    Args:
        graph: The space.
        cost: The cost, such as MACs, or the latency by a table in nanoseconds.

    Attributes:
        low, high: Least and greatest cost of an arch.
        width: Width of a bucket.
    """

    def __init__(self, graph: Graph, cost: AdditiveCost) -> None:
        self.graph = graph
        self.costs = graph.edge_costs(cost)
        self.rests = [cost.rest(state) for state in graph.levels[-1]]
        self.low = graph.fold(self.rests, least_sum, self.costs)[0][0]
        self.high = graph.fold(self.rests, lambda pairs: max(map(sum, pairs)), self.costs)[0][0]
        # Counts beyond 64 bits are Python integers, exact but larger, so there are fewer buckets.
        small = graph.size < 1 << 63
        self._dtype: type = np.int64 if small else object
        self.width = max(1, (self.high - self.low) // (BINS if small else BINS // 4))
        self._terms = len(graph.edges) + 1 if self.width > 1 else 0

    def sample(self, rng: np.random.Generator, low: float, high: float) -> Arch:
        """Sample uniformly from the archs whose cost lies in [low, high].

        Raises:
            InputError: No arch has a cost in the band.
        """
        clipped = self._clip(low, high)
        arch = self._try_sample(rng, *clipped)
        if arch is None and self._count_in_buckets(*clipped) and self.exact_sums:
            arch = self.exact_sums.sample(rng, *clipped)
        if arch is None:
            verb = "has" if self.count(low, high).exact else "was found with"
            raise InputError(
                f"no arch {verb} a cost in [{low:,.0f}, {high:,.0f}]; "
                f"the space reaches from {self.low:,} to {self.high:,}"
            )
        return arch

    def sample_evenly(self, rng: np.random.Generator, least: float = 0.0) -> Arch:
        """Sample an arch evenly over costs: a stratum of the range, then an arch inside it.

        Args:
            rng: Random generator.
            least: Least cost of the arch; 0 for all archs.
        """
        first, step = self._strata(least)
        while True:
            low = first + step * int(rng.integers(STRATA))
            # The loop ends: the stratum of the cheapest or of the most expensive arch has one.
            arch = self._try_sample(rng, low, low + step)
            if arch is not None:
                return arch

    def sample_cheap(self, rng: np.random.Generator, least: float) -> Arch:
        """Sample one of the archs that cost little more than `least`: of the first stratum."""
        first, step = self._strata(least)
        lows = (first + step * i for i in range(STRATA))
        archs = (self._try_sample(rng, low, low + step) for low in lows)
        # Strata narrower than buckets can reject every draw; `sample` is exact then.
        return next(filter(None, archs), None) or self.sample(rng, first, self.high)

    def _strata(self, least: float) -> tuple[float, float]:
        """Return the start and the width of the strata of costs from `least` on."""
        first = min(max(self.low, least), self.high)
        # Costs are integers: with one more, rounding cannot exclude the most expensive arch, which
        # may be the only one from `least` on.
        return first, (self.high + (first > self.low) - first) / STRATA

    def count(self, low: float, high: float) -> Count:
        """Count the archs with a cost in [low, high]; exact if `exact_sums` fits in memory."""
        low, high = self._clip(low, high)
        if not low <= high:
            return Count(0, exact=True)
        if self.exact_sums is not None:
            return Count(self.exact_sums.count(low, high), exact=True)
        first, last = self._bucket_range(low, high)
        # Between all archs that may lie in the band and those that surely do.
        inner = self._histograms[0][0].between(first + self._terms, last - self._terms)
        return Count((self._count_in_buckets(low, high) + inner) // 2, exact=False)

    def histogram(self, bins: int) -> list[Count]:
        """Count the archs in `bins` bands of equal width, in ascending order of cost."""
        span = self.high + 1 - self.low
        edges = [self.low + span * i // bins for i in range(bins + 1)]
        return [self.count(low, high - 1) for low, high in pairwise(edges)]

    @cached_property
    def exact_sums(self) -> ExactSums | None:
        """The exact sums; None if they do not fit in memory."""
        return ExactSums.build(self.graph, self.costs, self.rests, self._dtype)

    def _try_sample(self, rng: np.random.Generator, low: float, high: float) -> Arch | None:
        total = self._count_in_buckets(low, high)
        for _ in range(ATTEMPTS if total else 0):
            arch, cost = self._path(integer_below(rng, total), *self._bucket_range(low, high))
            if low <= cost <= high:
                return arch
        return None

    def _path(self, rank: int, low: int, high: int) -> tuple[Arch, int]:
        """Return arch number `rank` of those with bucket sums of `low` to `high`, and its cost."""
        node, cost, blocks = 0, 0, []
        for level, costs, after in zip(
            self.graph.edges, self.costs, self._histograms[1:], strict=True
        ):
            for edge, edge_cost in zip(level[node], costs[node], strict=True):
                bucket = edge_cost // self.width
                count = after[edge.to].between(low - bucket, high - bucket)
                if rank < count:
                    break
                rank -= count
            blocks.append(edge.block)
            low, high, cost, node = low - bucket, high - bucket, cost + edge_cost, edge.to
        return Arch(tuple(blocks)), cost + self.rests[node]

    def _clip(self, low: float, high: float) -> tuple[float, float]:
        """Clip a band, which may be infinite, to the range of the space."""
        return max(low, self.low), min(high, self.high)

    def _bucket_range(self, low: float, high: float) -> tuple[int, int]:
        """Return the range of bucket sums of a band; flooring loses up to one bucket per term."""
        return -int(-low // self.width) - self._terms, int(high // self.width)

    def _count_in_buckets(self, low: float, high: float) -> int:
        """Count the archs that may lie in the band, by their bucket sums."""
        if not low <= high:  # NaN too
            return 0
        return self._histograms[0][0].between(*self._bucket_range(low, high))

    @cached_property
    def _histograms(self) -> list[list[Histogram]]:
        one: Array = np.array([0, 1], dtype=self._dtype)
        ends = [Histogram(rest // self.width, one) for rest in self.rests]
        return self.graph.fold(ends, self._merge, self.costs)

    def _merge(self, pairs: list[tuple[int, Histogram]]) -> Histogram:
        parts = [(after.first + cost // self.width, after.below) for cost, after in pairs]
        first = min(start for start, _ in parts)
        last = max(start + len(below) for start, below in parts)
        below: Array = np.zeros(last - first, dtype=self._dtype)
        for start, part in parts:
            below[start - first : start - first + len(part)] += part
            below[start - first + len(part) :] += part[-1]
        return Histogram(first, below)
