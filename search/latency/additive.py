"""Predicted latency as an additive cost, in nanoseconds."""

from __future__ import annotations

from collections.abc import Mapping

from space.arch import BlockArch
from space.cost import block_cost, rest_term
from space.operators.base import Term
from space.shape import BackboneShape
from space.state import State

NANOSECONDS = 1e9


class LatencyCost:
    """Latency in nanoseconds as a sum over blocks, like MACs.

    Args:
        seconds: Seconds of each term that archs may have.
        shape: Shape of the backbone.
    """

    def __init__(self, seconds: Mapping[Term, float], shape: BackboneShape) -> None:
        self.shape = shape
        self._ns = {term: round(value * NANOSECONDS) for term, value in seconds.items()}

    def block(self, state: State, block: BlockArch) -> int:
        terms = block_cost(state, block, self.shape).terms
        return sum(self._ns[term] for term, _ in terms)

    def rest(self, state: State) -> int:
        return self._ns[rest_term(state, self.shape)[0]]
