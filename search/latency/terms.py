"""The terms of a latency, which is their sum: an operator and its number of patch tokens.

As with MACs, work that the previous block does for a block counts as the block's own: keeping a
map for it, scoring its tokens. So latency is an additive cost, and the dynamic
programming that counts and samples by MACs works for milliseconds too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from space.arch import Arch
from space.cost import block_cost, rest_term
from space.operators.base import Term
from space.operators.walk import trace
from space.shape import BackboneShape
from space.space import SearchSpace


def arch_terms(arch: Arch, shape: BackboneShape) -> Iterator[tuple[Term, int]]:
    """Iterate over the terms of an arch, with repetitions, and their MACs, which sum to the arch's.

    Raises:
        InputError: The arch does not fit the backbone or breaks a rule.
    """
    states, blocks = trace(arch, shape)
    for state, block in zip(states, blocks, strict=False):
        yield from block_cost(state, block, shape).terms
    yield rest_term(states[-1], shape)


def count_terms(arch: Arch, shape: BackboneShape) -> Counter[Term]:
    """Count the terms of an arch.

    Raises:
        InputError: The arch does not fit the backbone or breaks a rule.
    """
    return Counter(term for term, _ in arch_terms(arch, shape))


def list_terms(space: SearchSpace) -> list[Term]:
    """List every term that an arch of the space may have, sorted."""
    terms = {rest_term(state, space.shape)[0] for state in space.graph.levels[-1]}
    for level in space.graph.list_choices():
        for state, block in level:
            terms.update(term for term, _ in block_cost(state, block, space.shape).terms)
    return sorted(terms)
