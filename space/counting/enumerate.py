"""Enumeration of the archs inside additive budgets, if they are few."""

from __future__ import annotations

from collections.abc import Sequence

from space.arch import Arch, BlockArch
from space.cost import AdditiveCost
from space.counting.graph import Graph, least_sum

MOST_VISITS = 400_000  # bounds time


def list_archs(
    graph: Graph, limits: Sequence[tuple[AdditiveCost, float]], most: int
) -> list[Arch] | None:
    """List all archs within every limit; None if there are more than `most` or it takes too long.

    A branch is pruned if even its cheapest continuation exceeds a limit; with one limit, every
    branch visited leads to an arch.
    """
    costs = [graph.edge_costs(cost) for cost, _ in limits]
    floors = [
        graph.fold([cost.rest(state) for state in graph.levels[-1]], least_sum, prices)
        for (cost, _), prices in zip(limits, costs, strict=True)
    ]
    found: list[Arch] = []
    # Nodes, the blocks that lead there, and what they leave of each budget.
    stack: list[tuple[int, tuple[BlockArch, ...], tuple[float, ...]]] = []
    stack.append((0, (), tuple(limit for _, limit in limits)))
    visits = 0
    while stack:
        node, blocks, left = stack.pop()
        level = len(blocks)
        visits += 1
        if level == len(graph.edges):
            found.append(Arch(blocks))
        else:
            for k, edge in enumerate(graph.edges[level][node]):
                after = tuple(
                    rest - prices[level][node][k] for rest, prices in zip(left, costs, strict=True)
                )
                floor = (each[level + 1][edge.to] for each in floors)
                if all(rest >= least for rest, least in zip(after, floor, strict=True)):
                    stack.append((edge.to, (*blocks, edge.block), after))
        if len(found) > most or visits > MOST_VISITS:
            return None
    return found
