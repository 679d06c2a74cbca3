"""Exact sums of an additive cost, by meet in the middle over the two halves of the depth.

Distinct sums are far fewer than archs, as many archs have the same sum; where they fit in memory,
counts are exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from space.arch import Arch, BlockArch
from space.counting.graph import EdgeCosts, Graph, integer_below

MAX_SUMS = 4_000_000  # limits memory

Array = np.ndarray[Any, Any]
# The edges of each node of a level: block, cost, and the node that they lead to.
Edges = list[list[tuple[BlockArch, int, int]]]


class Sums(NamedTuple):
    """Distinct sums, ascending, and the number of paths with each."""

    values: Array
    counts: Array


class Level(NamedTuple):
    """The sums of each node of a level, and its edges to the level before it in the same half."""

    sums: list[Sums]
    edges: Edges

    @property
    def size(self) -> int:
        return sum(len(sums.values) for sums in self.sums)


@dataclass(frozen=True)
class ExactSums:
    """The sums of the paths from the root to the middle level, and from there to the end.

    Args:
        heads: Sums of the paths from the root to each node, by level from the root on.
        tails: Sums of the paths from each node to the end, by level from the end back.
    """

    heads: list[Level]
    tails: list[Level]

    @classmethod
    def build(
        cls, graph: Graph, costs: EdgeCosts, rests: list[int], dtype: type
    ) -> ExactSums | None:
        """Compute both halves; None if they have more than MAX_SUMS sums.

        `rests` has the cost outside the blocks by last node; `dtype` is that of the counts.
        """
        one: Array = np.ones(1, dtype=dtype)
        depth, remaining = len(graph.edges), MAX_SUMS
        heads = [Level([Sums(np.zeros(1, dtype=np.int64), one)], [])]
        tails = [Level([Sums(np.array([rest], dtype=np.int64), one) for rest in rests], [])]
        while len(heads) + len(tails) < depth + 2:
            # Grow the smaller half, so that both stay small.
            if heads[-1].size <= tails[-1].size:
                half, edges = heads, _list_edges(graph, costs, len(heads) - 1, backwards=True)
            else:
                half, edges = tails, _list_edges(graph, costs, depth - len(tails), backwards=False)
            before = half[-1].sums
            sums = [_merge([(cost, before[to]) for _, cost, to in each]) for each in edges]
            half.append(Level(sums, edges))
            remaining -= half[-1].size
            if remaining < 0:
                return None
        return cls(heads, tails)

    def count(self, low: float, high: float) -> int:
        """Count the archs with a cost in [low, high]."""
        return sum(int(weights.sum()) for weights in self._count_paths(low, high))

    def sample(self, rng: np.random.Generator, low: float, high: float) -> Arch | None:
        """Sample uniformly from the archs with a cost in [low, high]; None without any."""
        weights = self._count_paths(low, high)
        totals = [int(weight.sum()) for weight in weights]
        if not sum(totals):
            return None
        rank, node = integer_below(rng, sum(totals)), 0
        while rank >= totals[node]:
            rank -= totals[node]
            node += 1
        at = _locate(weights[node], rank)
        head = int(self.heads[-1].sums[node].values[at])
        tail = self.tails[-1].sums[node]
        inside = (tail.values >= low - head) & (tail.values <= high - head)
        counts = np.where(inside, tail.counts, 0)
        at = _locate(counts, integer_below(rng, int(counts.sum())))
        first = _draw(rng, self.heads, node, head)
        return Arch((*reversed(first), *_draw(rng, self.tails, node, int(tail.values[at]))))

    def _count_paths(self, low: float, high: float) -> list[Array]:
        """Count the paths inside the band, by node of the middle level and sum of its heads."""
        counts = []
        for head, tail in zip(self.heads[-1].sums, self.tails[-1].sums, strict=True):
            below = np.concatenate([np.zeros(1, dtype=tail.counts.dtype), np.cumsum(tail.counts)])
            stop = np.searchsorted(tail.values, high - head.values, side="right")
            start = np.searchsorted(tail.values, low - head.values, side="left")
            counts.append(head.counts * (below[np.maximum(stop, start)] - below[start]))
        return counts


def _list_edges(graph: Graph, costs: EdgeCosts, i: int, backwards: bool) -> Edges:
    """List the edges between levels i and i + 1 by node of level i; of i + 1 if `backwards`."""
    edges: Edges = [[] for _ in graph.levels[i + backwards]]
    for source, pair in enumerate(zip(graph.edges[i], costs[i], strict=True)):
        for edge, edge_cost in zip(*pair, strict=True):
            start, end = (edge.to, source) if backwards else (source, edge.to)
            edges[start].append((edge.block, edge_cost, end))
    return edges


def _draw(rng: np.random.Generator, half: list[Level], node: int, total: int) -> list[BlockArch]:
    """Sample a path of cost `total` from `node` of the last level of a half to its first."""
    blocks: list[BlockArch] = []
    for level, before in pairwise(reversed(half)):
        options = [
            (count, block, to, total - edge_cost)
            for block, edge_cost, to in level.edges[node]
            if (count := _count_sum(before.sums[to], total - edge_cost))
        ]
        counts = np.array([option[0] for option in options], dtype=object)
        _, block, node, total = options[_locate(counts, integer_below(rng, counts.sum()))]
        blocks.append(block)
    return blocks


def _merge(pairs: list[tuple[int, Sums]]) -> Sums:
    """Merge the sums of a node's edges, (cost, sums of the other end) each."""
    values = np.concatenate([sums.values + cost for cost, sums in pairs])
    counts = np.concatenate([sums.counts for _, sums in pairs])
    order = np.argsort(values, kind="stable")
    values = values[order]
    starts = np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1]]))
    return Sums(values[starts], np.add.reduceat(counts[order], starts))


def _count_sum(sums: Sums, value: int) -> int:
    """Return the number of paths whose sum is `value`."""
    at = int(np.searchsorted(sums.values, value))
    return int(sums.counts[at]) if at < len(sums.values) and sums.values[at] == value else 0


def _locate(weights: Array, rank: int) -> int:
    """Return the index at which the cumulative sum of `weights` exceeds `rank`."""
    return int(np.searchsorted(np.cumsum(weights), rank, side="right"))
