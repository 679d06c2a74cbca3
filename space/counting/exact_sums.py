"""Exact sums of an additive cost, by meet in the middle over the two halves of the depth.

Distinct sums are far fewer than archs, as many archs have the same sum; where they fit in memory,
counts are exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from space.arch import Arch, BlockArch
from space.counting.graph import EdgeCosts, Graph, integer_below

MOST_SUMS = 4_000_000  # limits memory

Array = np.ndarray[Any, Any]


class Sums(NamedTuple):
    """Distinct sums, ascending, and the number of paths with each."""

    values: Array
    counts: Array


@dataclass(frozen=True)
class ExactSums:
    """The sums of the paths from the root to the middle level, and from there to the end.

    Args:
        graph: The space.
        costs: The cost of each edge.
        heads: Sums of the paths from the root to each node, by level up to the middle one.
        tails: Sums of the paths from each node to the end, by level from the middle one on.
    """

    graph: Graph
    costs: EdgeCosts
    heads: list[list[Sums]]
    tails: list[list[Sums]]

    @classmethod
    def build(
        cls, graph: Graph, costs: EdgeCosts, rests: list[int], dtype: type
    ) -> ExactSums | None:
        """Compute both halves; None if they have more than MOST_SUMS sums.

        `rests` has the cost outside the blocks by last node; `dtype` is that of the counts.
        """
        one: Array = np.ones(1, dtype=dtype)
        depth, remaining = len(graph.edges), MOST_SUMS
        tails = [[Sums(np.array([rest], dtype=np.int64), one) for rest in rests]]
        heads = [[Sums(np.zeros(1, dtype=np.int64), one)]]
        while len(heads) + len(tails) < depth + 2:
            # Grow the smaller half, so that both stay small.
            if _count_sums(heads[-1]) <= _count_sums(tails[0]):
                heads.append(_grow_heads(graph, costs, len(heads) - 1, heads[-1]))
                remaining -= _count_sums(heads[-1])
            else:
                tails.insert(0, graph.fold_level(depth - len(tails), tails[0], _merge, costs))
                remaining -= _count_sums(tails[0])
            if remaining < 0:
                return None
        return cls(graph, costs, heads, tails)

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
        head = int(self.heads[-1][node].values[at])
        tail = self.tails[0][node]
        inside = (tail.values >= low - head) & (tail.values <= high - head)
        counts = np.where(inside, tail.counts, 0)
        at = _locate(counts, integer_below(rng, int(counts.sum())))
        rest = int(tail.values[at])
        return Arch(self._draw_head(rng, node, head) + self._draw_tail(rng, node, rest))

    def _count_paths(self, low: float, high: float) -> list[Array]:
        """Count the paths inside the band, by node of the middle level and sum of its heads."""
        counts = []
        for head, tail in zip(self.heads[-1], self.tails[0], strict=True):
            below = np.concatenate([np.zeros(1, dtype=tail.counts.dtype), np.cumsum(tail.counts)])
            stop = np.searchsorted(tail.values, high - head.values, side="right")
            start = np.searchsorted(tail.values, low - head.values, side="left")
            counts.append(head.counts * (below[np.maximum(stop, start)] - below[start]))
        return counts

    def _draw_head(self, rng: np.random.Generator, node: int, total: int) -> tuple[BlockArch, ...]:
        """Sample a path of cost `total` from the root to `node` of the middle level."""
        blocks: list[BlockArch] = []
        for i in reversed(range(len(self.heads) - 1)):
            options = [
                (count, edge.block, source, total - price)
                for source, edges in enumerate(self.graph.edges[i])
                for edge, price in zip(edges, self.costs[i][source], strict=True)
                if edge.to == node and (count := _count_sum(self.heads[i][source], total - price))
            ]
            block, node, total = _pick(rng, options)
            blocks.append(block)
        return tuple(reversed(blocks))

    def _draw_tail(self, rng: np.random.Generator, node: int, total: int) -> tuple[BlockArch, ...]:
        """Sample a path of cost `total` from `node` of the middle level to the end."""
        blocks: list[BlockArch] = []
        for i, after in enumerate(self.tails[1:], len(self.heads) - 1):
            options = [
                (count, edge.block, edge.to, total - price)
                for edge, price in zip(self.graph.edges[i][node], self.costs[i][node], strict=True)
                if (count := _count_sum(after[edge.to], total - price))
            ]
            block, node, total = _pick(rng, options)
            blocks.append(block)
        return tuple(blocks)


def _grow_heads(graph: Graph, costs: EdgeCosts, i: int, heads: list[Sums]) -> list[Sums]:
    """Compute the sums at the nodes of level i + 1 from those of level i."""
    incoming: list[list[tuple[int, Sums]]] = [[] for _ in graph.levels[i + 1]]
    for sums, edges, prices in zip(heads, graph.edges[i], costs[i], strict=True):
        for edge, price in zip(edges, prices, strict=True):
            incoming[edge.to].append((price, sums))
    return list(map(_merge, incoming))


def _merge(ways: list[tuple[int, Sums]]) -> Sums:
    """Merge the sums of a node's edges, (cost, sums of the other end) each."""
    values = np.concatenate([sums.values + price for price, sums in ways])
    counts = np.concatenate([sums.counts for _, sums in ways])
    order = np.argsort(values, kind="stable")
    values = values[order]
    starts = np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1]]))
    return Sums(values[starts], np.add.reduceat(counts[order], starts))


def _count_sums(level: list[Sums]) -> int:
    return sum(len(sums.values) for sums in level)


def _count_sum(sums: Sums, value: int) -> int:
    """Return the number of paths whose sum is `value`."""
    at = int(np.searchsorted(sums.values, value))
    return int(sums.counts[at]) if at < len(sums.values) and sums.values[at] == value else 0


def _locate(weights: Array, rank: int) -> int:
    """Return the index at which the cumulative sum of `weights` exceeds `rank`."""
    return int(np.searchsorted(np.cumsum(weights), rank, side="right"))


def _pick(
    rng: np.random.Generator, options: list[tuple[int, BlockArch, int, int]]
) -> tuple[BlockArch, int, int]:
    """Sample an option (count, block, node, remaining cost) by its count."""
    rank = integer_below(rng, sum(option[0] for option in options))
    at = _locate(np.array([option[0] for option in options], dtype=object), rank)
    return options[at][1:]
