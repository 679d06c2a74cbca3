"""What an arch costs, as exact integers: MACs and parameters.

MACs are the multiply-accumulates of every linear layer, convolution and matrix product, for one
image. A cost that adds up over the blocks (`AdditiveCost`) can also be counted and drawn by, see
`space.bands`.

B images, P patch tokens, N = P + prefix tokens, A attention width, H heads.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple, Protocol

from space.arch import Arch, BlockArch, Pool
from space.errors import InputError
from space.rules import broken
from space.shape import BackboneShape
from space.tokens import State, advance, effective, pooled, start, starts_run, through

PLAIN = BlockArch()
CONV_TAPS = {"conv2d": 9, "conv1d": 3}


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
        self._own = shape.query_key.macs + shape.value_output.macs + shape.mlp.macs
        self._shared = shape.value_output.macs + shape.mlp.macs

    def block(self, state: State, block: BlockArch) -> int:
        shape = self.shape
        n = through(state, block) + shape.prefix
        product = shape.attention_width * n * n
        if block.attention == "shared":
            total = n * self._shared + product
        else:
            total = n * self._own + 2 * product
        if block.pool is not None:
            total += _pool_macs(state, block.pool, shape)
        elif starts_run(state, block):
            total += selector_macs(block.selector, state.tokens + shape.prefix, shape)
        return total

    def rest(self, state: State) -> int:
        shape = self.shape
        return shape.stem.macs + shape.head.macs + shape.head_per_token * state.tokens


def selector_macs(selector: str, n: int, shape: BackboneShape) -> int:
    """MACs of scoring N tokens: two 1-wide convolutions over the head maps, or one query row."""
    if selector == "map":
        return 2 * shape.heads * shape.heads * n * n
    return shape.attention_width * n


def selector_params(shape: BackboneShape) -> int:
    """Parameters of a map selector: H to H with bias, H to H without."""
    return 2 * shape.heads * shape.heads + shape.heads


def pool_params(pool: Pool, shape: BackboneShape) -> int:
    """Parameters of a pooling: one depthwise kernel, or none."""
    return CONV_TAPS.get(pool.kind, 0) * shape.width


class Trace(NamedTuple):
    """An arch along a backbone.

    Args:
        states: before each block, and after the last one.
        blocks: the choices without what changes nothing.
    """

    states: tuple[State, ...]
    blocks: tuple[BlockArch, ...]


@lru_cache(maxsize=4096)
def trace(arch: Arch, shape: BackboneShape) -> Trace:
    """Follow an arch along a backbone.

    Raises:
        InputError: the arch has another depth than the backbone, or breaks a rule.
    """
    if arch.depth != shape.depth:
        raise InputError(f"the arch has {arch.depth} blocks, the backbone {shape.depth}")
    states, blocks = [start(shape)], []
    for i, given in enumerate(arch.blocks):
        state, block = states[-1], given
        if block != PLAIN:
            block = effective(state, block)
            reasons = broken(i, state, block)
            if reasons:
                raise InputError(f"blocks[{i}]: {'; '.join(reasons)}")
        states.append(advance(state, block))
        blocks.append(block)
    return Trace(tuple(states), tuple(blocks))


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
        InputError: the arch does not fit the backbone or breaks a rule.
    """
    return total(arch, shape, mac_cost(shape))


def params(arch: Arch, shape: BackboneShape) -> int:
    """Parameters of the subnet, with those alone that the arch uses.

    Raises:
        InputError: the arch does not fit the backbone or breaks a rule.
    """
    states, blocks = trace(arch, shape)
    per_block = shape.query_key.params + shape.value_output.params
    per_block += shape.mlp.params + shape.rest.params
    count = shape.stem.params + shape.head.params + arch.depth * per_block
    for state, block in zip(states, blocks, strict=False):
        if block.attention == "shared":
            count -= shape.query_key.params
        if block.pool is not None:
            count += pool_params(block.pool, shape)
        elif starts_run(state, block) and block.selector == "map":
            count += selector_params(shape)
    return count


def token_counts(arch: Arch, shape: BackboneShape) -> list[int]:
    """Patch tokens that each block works on.

    Raises:
        InputError: the arch does not fit the backbone or breaks a rule.
    """
    states, blocks = trace(arch, shape)
    return [through(state, block) for state, block in zip(states, blocks, strict=False)]


def _pool_macs(state: State, pool: Pool, shape: BackboneShape) -> int:
    return CONV_TAPS.get(pool.kind, 0) * shape.width * pooled(state, pool)[1]
