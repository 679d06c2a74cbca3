"""The terms that a latency adds up from: what was done to how many patch tokens.

As with MACs, what a block makes the block before it do counts as its own: a map that is kept for
it, scores by which its tokens are chosen. So the sum along an arch is an additive cost, and the
dynamic programming that counts and draws by MACs works for milliseconds too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from space.arch import ATTENTIONS, Arch, BlockArch
from space.cost import CONV_TAPS, mac_cost, selector_macs, trace
from space.graph import Graph
from space.shape import BackboneShape
from space.tokens import State, starts_run, through

REST = "rest"
KEPT_MAP = "kept map"


class Term(NamedTuple):
    """One thing that takes time.

    Args:
        operator: `own` or `shared`, a block; `kept map`, which the first of a row of shared blocks
            makes the block before it keep; a kind of pooling; `map selector` or `cls selector`:
            scores, choice, gathering and putting back; `rest`, all that is no block.
        tokens: patch tokens that it works on.
        left: patch tokens that a pooling or a selector leaves; the same for all others.
    """

    operator: str
    tokens: int
    left: int

    def __str__(self) -> str:
        tokens = str(self.tokens)
        return f"{self.operator} {tokens if self.left == self.tokens else f'{tokens}>{self.left}'}"


def block_terms(state: State, block: BlockArch) -> Iterator[Term]:
    """The terms of `block` at `state`."""
    n = through(state, block)
    yield Term(block.attention, n, n)
    if block.shared and not state.shared:
        yield Term(KEPT_MAP, n, n)
    if block.pool is not None:
        yield Term(block.pool.kind, state.tokens, n)
    elif starts_run(state, block):
        yield Term(f"{block.selector} selector", state.tokens, n)


def rest_term(state: State) -> Term:
    """The term of stem and head, where `state` is what the last block left."""
    return Term(REST, state.tokens, state.tokens)


def terms_of(arch: Arch, shape: BackboneShape) -> Counter[Term]:
    """The terms of an arch, and how often each occurs.

    Raises:
        InputError: the arch does not fit the backbone or breaks a rule.
    """
    states, blocks = trace(arch, shape)
    found = Counter([rest_term(states[-1])])
    for state, block in zip(states, blocks, strict=False):
        found.update(block_terms(state, block))
    return found


def term_macs(term: Term, shape: BackboneShape) -> int:
    """MACs of a term; over all terms of an arch they add up to its own."""
    cost, state = mac_cost(shape), State(None, term.tokens)
    if term.operator == REST:
        return cost.rest(state)
    if term.operator in ATTENTIONS:
        return cost.block(state, BlockArch(attention=term.operator))
    selector, _, kind = term.operator.partition(" ")
    if kind == "selector":
        return selector_macs(selector, term.tokens + shape.prefix, shape)
    return CONV_TAPS.get(term.operator, 0) * shape.width * term.left


def terms_in(graph: Graph) -> list[Term]:
    """Every term that an arch of a space may have, in order."""
    found = {rest_term(state) for state in graph.levels[-1]}
    for level in graph.choices():
        for state, block in level:
            found.update(block_terms(state, block))
    return sorted(found)
