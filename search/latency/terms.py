"""The terms that a latency adds up from: what was done to how many patch tokens.

As with MACs, what a block makes the block before it do counts as its own: a map that is kept for
it, scores by which its tokens are chosen. So the sum along an arch is an additive cost, and the
dynamic programming that counts and draws by MACs works for milliseconds too.
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
    """Every term of an arch, as often as it occurs, with its MACs; these add up to the arch's.

    Raises:
        InputError: The arch does not fit the backbone or breaks a rule.
    """
    states, blocks = trace(arch, shape)
    for state, block in zip(states, blocks, strict=False):
        yield from block_cost(state, block, shape).terms
    yield rest_term(states[-1], shape)


def count_terms(arch: Arch, shape: BackboneShape) -> Counter[Term]:
    """The terms of an arch, and how often each occurs.

    Raises:
        InputError: The arch does not fit the backbone or breaks a rule.
    """
    return Counter(term for term, _ in arch_terms(arch, shape))


def list_terms(space: SearchSpace) -> list[Term]:
    """Every term that an arch of a space may have, in order."""
    found = {rest_term(state, space.shape)[0] for state in space.graph.levels[-1]}
    for level in space.graph.choices():
        for state, block in level:
            found.update(term for term, _ in block_cost(state, block, space.shape).terms)
    return sorted(found)
