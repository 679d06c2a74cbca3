"""What an arch costs, as exact integers: MACs, parameters, tokens, and activation memory.

MACs are the multiply-accumulates of every linear layer, convolution and matrix product, for one
image. A cost that adds up over the blocks (`AdditiveCost`) can also be counted and drawn by, see
`space.counting.bands`.

Activation memory is the most bytes alive at once, in inference, for one image: an analytic figure
to rank archs by, not what an allocator reports. Weights, images, stem and head, work space of
kernels and what a runtime reuses in place are left out. A block of N tokens (prefix tokens
included) of width D, with H heads, attention width A and M = MACs of the MLP per token / D, has
alive the largest of:

- attention: its tokens and their norm 2 N D; query, key, value and output 4 N A; where a map is
  materialised, logits and map 2 H N^2. A shared block has value and output 2 N A and the map that
  it was given H N^2. A map is materialised only where a later block shares it or a `map` selector
  reads its logits; all other attention is fused. (On a CPU, maps that nobody keeps are made for a
  few images at a time: a large batch needs less than so many times this figure.)
- selection of a run's tokens, in the attention of the block before it: for `map` its logits, the
  hidden and the predicted maps 3 H N^2, beside what its attention keeps; for `cls` nothing more.
- MLP: its tokens and their norm 2 N D; hidden M N; a map that this block was given or leaves
  H N^2.
- pooling: the tokens before and after it.

During a run of blocks that some tokens bypass, all tokens as they were before it are kept: their
number times D in addition.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Protocol

from space.arch import Arch, BlockArch
from space.operators.base import FREE, BlockCost, Term, mlp_elements
from space.operators.registry import cached, operators
from space.operators.walk import advance, trace
from space.shape import BackboneShape
from space.state import State

REST = "rest"


@cached(1 << 16)
def block_cost(state: State, block: BlockArch, shape: BackboneShape) -> BlockCost:
    """What a block in canonical form costs, with what it makes the block before do in addition."""
    total, tokens = FREE, state.tokens
    for operator, own in zip(operators(), state.own, strict=True):
        choice = operator.choice(block)
        cost = operator.cost(tokens, own, choice, shape)
        if cost is not FREE:
            total = total.plus(cost) if total is not FREE else cost
        tokens, _ = operator.advance(tokens, own, choice)
    n = tokens.seen + shape.prefix
    return BlockCost(
        total.macs + n * shape.mlp.macs,
        total.params + shape.mlp.params + shape.rest.params,
        total.before,
        max(total.within, mlp_elements(n, shape)),
        total.held,
        total.terms,
    )


def rest_term(state: State, shape: BackboneShape) -> tuple[Term, int]:
    """What stem and head take, where `state` is what the last block left, and their MACs."""
    count = state.tokens.patches
    macs = shape.stem.macs + shape.head.macs + shape.head_per_token * count
    return Term(REST, count, count), macs


class AdditiveCost(Protocol):
    """A cost that is the sum of a term per block and a last one; non-negative integers."""

    def block(self, state: State, block: BlockArch) -> int:
        """The cost of `block` at `state`, with what it makes the block before it do in addition."""

    def rest(self, state: State) -> int:
        """The cost of all that is no block, where `state` is what the last block left."""


class MacCost:
    """MACs as an additive cost."""

    def __init__(self, shape: BackboneShape) -> None:
        self.shape = shape

    def block(self, state: State, block: BlockArch) -> int:
        return block_cost(state, block, self.shape).macs

    def rest(self, state: State) -> int:
        return rest_term(state, self.shape)[1]


class ParamCost:
    """Parameters of the subnet as an additive cost."""

    def __init__(self, shape: BackboneShape) -> None:
        self.shape = shape

    def block(self, state: State, block: BlockArch) -> int:
        return block_cost(state, block, self.shape).params

    def rest(self, state: State) -> int:
        return self.shape.stem.params + self.shape.head.params


class TokenCost:
    """Patch tokens that the blocks work on, summed over the blocks."""

    def __init__(self, shape: BackboneShape) -> None:
        self.shape = shape

    def block(self, state: State, block: BlockArch) -> int:
        return advance(state, block).tokens.seen

    def rest(self, state: State) -> int:
        return 0


@lru_cache(maxsize=64)
def mac_cost(shape: BackboneShape) -> MacCost:
    return MacCost(shape)


def total(arch: Arch, shape: BackboneShape, cost: AdditiveCost) -> int:
    """The sum of `cost` along the arch."""
    states, blocks = trace(arch, shape)
    return sum(map(cost.block, states, blocks)) + cost.rest(states[-1])


def macs(arch: Arch, shape: BackboneShape) -> int:
    """Multiply-accumulates of the subnet for one image.

    Raises:
        InputError: The arch does not fit the backbone or breaks a rule.
    """
    return total(arch, shape, mac_cost(shape))


def params(arch: Arch, shape: BackboneShape) -> int:
    """Parameters of the subnet, with those alone that the arch uses.

    Raises:
        InputError: The arch does not fit the backbone or breaks a rule.
    """
    return total(arch, shape, ParamCost(shape))


def token_counts(arch: Arch, shape: BackboneShape) -> list[int]:
    """Patch tokens that each block works on.

    Raises:
        InputError: The arch does not fit the backbone or breaks a rule.
    """
    return [after.tokens.seen for after in trace(arch, shape).states[1:]]


def activation_memory(arch: Arch, shape: BackboneShape, element: int = 4) -> int:
    """Most bytes of activations alive at once for one image, as defined above.

    Args:
        arch: The choices.
        shape: The backbone.
        element: Bytes of an element; 4 for float32.

    Raises:
        InputError: The arch does not fit the backbone or breaks a rule.
    """
    states, blocks = trace(arch, shape)
    pairs = zip(states, blocks, strict=False)
    return element * max(block_cost(state, block, shape).peak for state, block in pairs)
