"""Design of experiments: archs to measure, which cover every term of a space."""

from __future__ import annotations

from collections import Counter, defaultdict, deque

import numpy as np

from search.latency.terms import count_terms, list_terms
from space.arch import Arch, BlockArch
from space.cost import block_cost, rest_term
from space.operators.base import Term
from space.space import SearchSpace

# Minimum number of archs with each term.
COVERAGE = 4


def design_archs(space: SearchSpace, rng: np.random.Generator) -> list[Arch]:
    """Choose the full and the smallest arch, and others until each term has `COVERAGE` archs.

    Each step draws a random arch with the term that the fewest archs have so far.
    """
    sampler = _PathSampler(space)
    archs = dict.fromkeys((space.largest(), space.smallest()))
    counts = Counter(dict.fromkeys(list_terms(space), 0))
    tries = Counter[Term]()
    for arch in archs:
        counts.update(count_terms(arch, space.shape).keys())
    # A small space may not have that many archs with a term, so the draws for each are limited.
    while open_terms := [t for t in counts if counts[t] < COVERAGE and tries[t] < 4 * COVERAGE]:
        term = min(open_terms, key=lambda t: (counts[t], t))
        tries[term] += 1
        arch = sampler.draw_through(term, rng)
        if arch not in archs:
            archs[arch] = None
            counts.update(count_terms(arch, space.shape).keys())
    return list(archs)


def draw_held_out(
    space: SearchSpace, rng: np.random.Generator, count: int, others: list[Arch]
) -> list[Arch]:
    """Draw `count` archs evenly over MACs that are not in `others`; fewer in a small space."""
    archs: dict[Arch, None] = {}
    for _ in range(20 * count):
        arch = space.mac_bands.sample_evenly(rng)
        if arch not in others:
            archs[arch] = None
        if len(archs) == count:
            break
    return list(archs)


class _PathSampler:
    """Sampler of archs, as random paths through a space's graph that use a given term."""

    def __init__(self, space: SearchSpace) -> None:
        self.graph = graph = space.graph
        # edges_of[term]: (level, node, index of the edge) of each edge with the term.
        self.edges_of: defaultdict[Term, list[tuple[int, int, int]]] = defaultdict(list)
        # before[i, n]: (node of level i - 1, block) of each edge into node n of level i.
        self.before: defaultdict[tuple[int, int], list[tuple[int, BlockArch]]] = defaultdict(list)
        for i, level in enumerate(graph.edges):
            for node, edges in enumerate(level):
                for k, edge in enumerate(edges):
                    self.before[i + 1, edge.to].append((node, edge.block))
                    cost = block_cost(graph.levels[i][node], edge.block, space.shape)
                    for term, _ in cost.terms:
                        self.edges_of[term].append((i, node, k))
        # The term of stem and head belongs to the last node of a path, without an edge.
        for node, state in enumerate(graph.levels[-1]):
            rest, _ = rest_term(state, space.shape)
            self.edges_of[rest].append((len(graph.edges), node, 0))

    def draw_through(self, term: Term, rng: np.random.Generator) -> Arch:
        """Draw an arch through a random edge with `term`, with random choices before and after."""
        edges_with_term = self.edges_of[term]
        level, node, k = edges_with_term[int(rng.integers(len(edges_with_term)))]
        blocks: deque[BlockArch] = deque()
        at = node
        for i in range(level, 0, -1):
            edges_into = self.before[i, at]
            at, block = edges_into[int(rng.integers(len(edges_into)))]
            blocks.appendleft(block)
        for i in range(level, len(self.graph.edges)):
            edges = self.graph.edges[i][node]
            edge = edges[k if i == level else int(rng.integers(len(edges)))]
            blocks.append(edge.block)
            node = edge.to
        return Arch(tuple(blocks))
