"""Predicted latency as an additive cost, in nanoseconds."""

from __future__ import annotations

from collections.abc import Mapping

from search.latency.terms import Term, block_terms, rest_term
from space.arch import BlockArch
from space.tokens import State

NANOSECONDS = 1e9


class LatencyCost:
    """The nanoseconds of a table, summed along an arch as MACs are.

    Args:
        seconds: of each term that the archs may have.
    """

    def __init__(self, seconds: Mapping[Term, float]) -> None:
        self._ns = {term: round(value * NANOSECONDS) for term, value in seconds.items()}

    def block(self, state: State, block: BlockArch) -> int:
        return sum(self._ns[term] for term in block_terms(state, block))

    def rest(self, state: State) -> int:
        return self._ns[rest_term(state)]
