"""The space as a layered graph: an arch is a path, a state of the tokens a node.

Dynamic programming over it counts archs exactly and draws them exactly uniformly, however many
there are: two prefixes that leave the same state have the same continuations.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from space.arch import Arch, BlockArch
from space.cost import AdditiveCost
from space.tokens import State, advance, start

if TYPE_CHECKING:
    from space.space import SearchSpace


class Edge(NamedTuple):
    """A choice of one block, and the index of the node on the next level that it leads to."""

    block: BlockArch
    to: int


class Graph:
    """Nodes and edges level by level; level i holds the states that block i may find."""

    def __init__(self, space: SearchSpace) -> None:
        depth = space.shape.depth
        self.levels: list[list[State]] = [[start(space.shape)]]
        self.edges: list[list[tuple[Edge, ...]]] = []
        known: dict[tuple[State, int], tuple[BlockArch, ...]] = {}
        alike: dict[object, int] = {}
        for i in range(depth):
            # Blocks with the same list share their choices; only block 0 has rules of its own.
            kind = alike.setdefault((tuple(space.listed(i)), i == 0), len(alike))
            index: dict[State, int] = {}
            level = []
            for state in self.levels[i]:
                key = (state, kind)
                if key not in known:
                    known[key] = space.choices(i, state)
                level.append(
                    tuple(
                        Edge(block, index.setdefault(advance(state, block), len(index)))
                        for block in known[key]
                    )
                )
            self.edges.append(level)
            self.levels.append(list(index))
        self.counts = _count_paths(self.edges, len(self.levels[-1]))

    @property
    def size(self) -> int:
        return self.counts[0][0]

    def sample(self, rng: np.random.Generator) -> Arch:
        """Draw a path uniformly."""
        return self.path(integer_below(rng, self.size))

    def path(self, rank: int) -> Arch:
        """The path of that rank, 0 to size - 1, in gene order."""
        node, blocks = 0, []
        for level, counts in zip(self.edges, self.counts[1:], strict=True):
            for edge in level[node]:
                if rank < counts[edge.to]:
                    break
                rank -= counts[edge.to]
            blocks.append(edge.block)
            node = edge.to
        return Arch(tuple(blocks))

    def through(self, i: int, accepts: Callable[[BlockArch], bool]) -> Graph | None:
        """The paths whose block `i` is accepted, as a graph of their own; None if there is none."""
        edges = list(self.edges)
        edges[i] = [tuple(edge for edge in each if accepts(edge.block)) for each in edges[i]]
        counts = _count_paths(edges, len(self.levels[-1]))
        if not counts[0][0]:
            return None
        part = object.__new__(Graph)
        part.levels, part.edges, nodes = [self.levels[0]], [], [0]
        for k, level in enumerate(edges):
            index: dict[int, int] = {}
            part.edges.append(
                [
                    tuple(
                        Edge(edge.block, index.setdefault(edge.to, len(index)))
                        for edge in level[node]
                        if counts[k + 1][edge.to]
                    )
                    for node in nodes
                ]
            )
            nodes = list(index)
            part.levels.append([self.levels[k + 1][node] for node in nodes])
        part.counts = _count_paths(part.edges, len(nodes))
        return part

    def choices(self) -> list[list[tuple[State, BlockArch]]]:
        """For each block, the states that it may find and its choices there."""
        return [
            [(state, edge.block) for state, edges in zip(*pair, strict=True) for edge in edges]
            for pair in zip(self.levels, self.edges, strict=False)
        ]

    def edge_costs(self, cost: AdditiveCost) -> list[list[tuple[int, ...]]]:
        """The cost of each edge, in the order of `edges`."""
        return [
            [
                tuple(cost.block(state, edge.block) for edge in edges)
                for state, edges in zip(states, level, strict=True)
            ]
            for states, level in zip(self.levels, self.edges, strict=False)
        ]

    def cheapest(self, cost: AdditiveCost) -> Arch:
        """The path of least cost; of several the first in gene order."""
        costs = self.edge_costs(cost)
        least = [[cost.rest(state) for state in self.levels[-1]]]
        for level, prices in zip(reversed(self.edges), reversed(costs), strict=True):
            after = least[-1]
            least.append(
                [
                    min(price + after[edge.to] for price, edge in zip(ps, es, strict=True))
                    for ps, es in zip(prices, level, strict=True)
                ]
            )
        least.reverse()
        node, blocks = 0, []
        for i, level in enumerate(self.edges):
            for price, edge in zip(costs[i][node], level[node], strict=True):
                if price + least[i + 1][edge.to] == least[i][node]:
                    break
            blocks.append(edge.block)
            node = edge.to
        return Arch(tuple(blocks))


def _count_paths(levels: list[list[tuple[Edge, ...]]], ends: int) -> list[list[int]]:
    """For each node the number of paths to the end."""
    counts = [[1] * ends]
    for level in reversed(levels):
        after = counts[-1]
        counts.append([sum(after[edge.to] for edge in edges) for edges in level])
    return counts[::-1]


def integer_below(rng: np.random.Generator, bound: int) -> int:
    """An exactly uniform integer in [0, bound), for bounds past 64 bits too."""
    if bound <= 1 << 63:
        return int(rng.integers(bound))
    bits = bound.bit_length()
    while True:
        value = int.from_bytes(rng.bytes((bits + 7) // 8), "little") & ((1 << bits) - 1)
        if value < bound:
            return value
