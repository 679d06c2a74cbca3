"""The space as a layered graph: an arch is a path, a state is a node.

Dynamic programming over it counts archs exactly and samples them exactly uniformly: prefixes that
lead to the same state have the same continuations. Archs have an order, "gene order": by the choice
of block 0, then of block 1 and so on, each in the order of `space.operators.walk.block_choices`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from typing import NamedTuple, TypeVar

import numpy as np

from space.arch import Arch, BlockArch
from space.cost import AdditiveCost
from space.state import State

MAX_VISITS = 400_000  # limits the time of `list_archs`

T = TypeVar("T")
# The cost of each edge, in the order of `Graph.edges`.
EdgeCosts = list[list[tuple[int, ...]]]
# Computes the value of a node from the (cost, value of the target) pairs of its edges.
Combine = Callable[[list[tuple[int, T]]], T]


class Edge(NamedTuple):
    """A choice of one block, and the index of its target node on the next level."""

    block: BlockArch
    to: int


class Graph:
    """A layered graph: the nodes of level i are the possible states before block i.

    Args:
        levels: States of each level, from the one initial state to those after the last block.
        edges: Edges in gene order, by level (without the last) and node.

    Attributes:
        counts: Number of paths from each node to the end, by level and node.
    """

    def __init__(self, levels: list[list[State]], edges: list[list[tuple[Edge, ...]]]) -> None:
        self.levels = levels
        self.edges = edges
        # With costs of zero, the sum of a node's pairs is the sum of the counts of its targets.
        zeros = [[(0,) * len(each) for each in level] for level in edges]
        self.counts = self.fold([1] * len(levels[-1]), lambda pairs: sum(map(sum, pairs)), zeros)

    @classmethod
    def build(
        cls,
        first: State,
        depth: int,
        expand: Callable[[int, State], Iterable[tuple[BlockArch, State]]],
    ) -> Graph:
        """Build the graph of all archs.

        Args:
            first: The state before block 0.
            depth: Number of blocks.
            expand: Function from block and state to (choice, state after it) in gene order.
        """
        levels, edges = [[first]], []
        for i in range(depth):
            index: dict[State, int] = {}
            edges.append(
                [
                    tuple(
                        Edge(block, index.setdefault(after, len(index)))
                        for block, after in expand(i, state)
                    )
                    for state in levels[i]
                ]
            )
            levels.append(list(index))
        return cls(levels, edges)

    @property
    def size(self) -> int:
        """Number of archs."""
        return self.counts[0][0]

    def sample(self, rng: np.random.Generator) -> Arch:
        """Sample an arch uniformly."""
        return self.path(integer_below(rng, self.size))

    def path(self, rank: int) -> Arch:
        """Return the arch number `rank`, 0 to size - 1, in gene order."""
        node, blocks = 0, []
        for level, counts in zip(self.edges, self.counts[1:], strict=True):
            for edge in level[node]:
                if rank < counts[edge.to]:
                    break
                rank -= counts[edge.to]
            blocks.append(edge.block)
            node = edge.to
        return Arch(tuple(blocks))

    def restrict(self, i: int, blocks: Set[BlockArch]) -> Graph:
        """Return the subgraph of the archs whose block `i` is one of `blocks`."""
        edges = list(self.edges)
        edges[i] = [tuple(edge for edge in each if edge.block in blocks) for each in edges[i]]
        counts = Graph(self.levels, edges).counts
        nodes = [{state: node for node, state in enumerate(level)} for level in self.levels]

        def expand(k: int, state: State) -> Iterator[tuple[BlockArch, State]]:
            for edge in edges[k][nodes[k][state]]:
                if counts[k + 1][edge.to]:
                    yield edge.block, self.levels[k + 1][edge.to]

        return Graph.build(self.levels[0][0], len(edges), expand)

    def list_choices(self) -> list[list[tuple[State, BlockArch]]]:
        """List the (state, choice) pairs that are possible in each block."""
        return [
            [(state, edge.block) for state, edges in zip(*pair, strict=True) for edge in edges]
            for pair in zip(self.levels, self.edges, strict=False)
        ]

    def edge_costs(self, cost: AdditiveCost) -> EdgeCosts:
        """Compute the cost of each edge."""
        return [
            [
                tuple(cost.block(state, edge.block) for edge in edges)
                for state, edges in zip(states, level, strict=True)
            ]
            for states, level in zip(self.levels, self.edges, strict=False)
        ]

    def fold(self, ends: Sequence[T], combine: Combine[T], costs: EdgeCosts) -> list[list[T]]:
        """Compute a value of every node from those of the nodes after it.

        Args:
            ends: Values of the last level.
            combine: Function from the (cost, target value) pairs of a node's edges to its value.
            costs: The cost of each edge.

        Returns:
            The values by level and node.
        """
        values = [list(ends)]
        for level in zip(reversed(self.edges), reversed(costs), strict=True):
            pairs = [
                [(cost, values[-1][edge.to]) for edge, cost in zip(*node, strict=True)]
                for node in zip(*level, strict=True)
            ]
            values.append(list(map(combine, pairs)))
        return values[::-1]

    def cheapest(self, cost: AdditiveCost) -> Arch:
        """Return the arch of least cost; ties go to the first in gene order."""
        costs = self.edge_costs(cost)
        least = self.fold([cost.rest(state) for state in self.levels[-1]], least_sum, costs)
        node, blocks = 0, []
        for i, level in enumerate(self.edges):
            for edge_cost, edge in zip(costs[i][node], level[node], strict=True):
                if edge_cost + least[i + 1][edge.to] == least[i][node]:
                    break
            blocks.append(edge.block)
            node = edge.to
        return Arch(tuple(blocks))


def least_sum(pairs: list[tuple[int, int]]) -> int:
    """Return the least cost of a node's continuations; for `Graph.fold`."""
    return min(map(sum, pairs))


def list_archs(
    graph: Graph, limits: Sequence[tuple[AdditiveCost, float]], most: int
) -> list[Arch] | None:
    """List all archs within every limit.

    A branch is pruned if even its cheapest continuation exceeds a limit; with one limit, every
    branch visited leads to an arch.

    Args:
        graph: The space.
        limits: Costs, each with the greatest value allowed.
        most: Greatest number of archs.

    Returns:
        The archs; None if there are more than `most`, or listing them takes too long.
    """
    costs = [graph.edge_costs(cost) for cost, _ in limits]
    floors = [
        graph.fold([cost.rest(state) for state in graph.levels[-1]], least_sum, edge_costs)
        for (cost, _), edge_costs in zip(limits, costs, strict=True)
    ]
    archs: list[Arch] = []
    # Nodes, the blocks that lead there, and what those leave of each limit.
    stack: list[tuple[int, tuple[BlockArch, ...], tuple[float, ...]]] = []
    stack.append((0, (), tuple(limit for _, limit in limits)))
    visits = 0
    while stack:
        node, blocks, remaining = stack.pop()
        level = len(blocks)
        visits += 1
        if level == len(graph.edges):
            archs.append(Arch(blocks))
        else:
            for k, edge in enumerate(graph.edges[level][node]):
                after = tuple(
                    left - each[level][node][k] for left, each in zip(remaining, costs, strict=True)
                )
                floor = (each[level + 1][edge.to] for each in floors)
                if all(left >= least for left, least in zip(after, floor, strict=True)):
                    stack.append((edge.to, (*blocks, edge.block), after))
        if len(archs) > most or visits > MAX_VISITS:
            return None
    return archs


def integer_below(rng: np.random.Generator, bound: int) -> int:
    """Draw an exactly uniform integer in [0, bound), also for bounds beyond 64 bits."""
    if bound <= 1 << 63:
        return int(rng.integers(bound))
    bits = bound.bit_length()
    while True:
        value = int.from_bytes(rng.bytes((bits + 7) // 8), "little") & ((1 << bits) - 1)
        if value < bound:
            return value
