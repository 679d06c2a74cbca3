"""Costs of an arch as exact integers: MACs, parameters, tokens, and activation memory.

MACs are the multiply-accumulates of every linear layer, convolution and matrix product, for one
image. By any cost that is a sum over the blocks (`AdditiveCost`), archs can be counted and sampled:
see `space.counting.bands`.

Activation memory is the peak number of bytes alive in inference for one image: an analytic figure
to rank archs by, not what an allocator reports. It leaves out weights, images, stem and head (a
dense head holds the tokens of several blocks, and larger maps), workspaces of kernels and in-place
reuse. For a block of N tokens (with prefix tokens) of width D, H heads, attention width A and M =
MACs of the MLP per token / D, it is the largest of:

- attention: its tokens and their norm 2 N D; query, key, value and output 4 N A; where a map is
  materialised, logits and map 2 H N^2. A shared block has value and output 2 N A and the shared map
  H N^2. A map is materialised only where a later block shares it or a `map` selector reads its
  logits; all other attention is fused. (On a CPU, maps that are not kept are computed for a few
  images at a time, so a large batch needs less than this figure times its size.)
- selection of a run's tokens, in the attention of the block before it: for `map` logits, hidden
  and predicted maps 3 H N^2, in addition to its attention; for `cls` and `random` nothing more.
- MLP: its tokens and their norm 2 N D; hidden layer M N; a map that the block shares, or that
  the next one will, H N^2.
- pooling: the tokens before and after it.

During a run, all tokens from before it are kept: their number times D in addition.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from space.arch import Arch, BlockArch
from space.operators.base import BlockCost, Term
from space.operators.registry import cached
from space.operators.walk import advance, trace, turns
from space.shape import BackboneShape
from space.state import State

REST = "rest"
FLOAT32 = 4  # bytes


@cached(1 << 16)
def block_cost(state: State, block: BlockArch, shape: BackboneShape) -> BlockCost:
    """Compute the cost of a block in canonical form, and of what it needs of the one before."""
    parts = list(turns(state, block))
    costs = [part.operator.cost(part.tokens, part.counter, part.choice, shape) for part in parts]
    n = parts[-1].tokens.processed + shape.prefix
    return BlockCost(
        macs=sum(cost.macs for cost in costs) + n * shape.mlp.macs,
        params=sum(cost.params for cost in costs) + shape.mlp.params + shape.rest.params,
        before=max(cost.before for cost in costs),
        within=max(shape.mlp_elements(n), *(cost.within for cost in costs)),
        held=sum(cost.held for cost in costs),
        terms=tuple(term for cost in costs for term in cost.terms),
    )


def rest_term(state: State, shape: BackboneShape) -> tuple[Term, int]:
    """Return the latency term and the MACs of stem and head; `state` is that after all blocks."""
    patches = state.tokens.patches
    macs = shape.stem.macs + shape.head.macs + shape.head_per_token * patches
    return Term(REST, patches, patches), macs


class AdditiveCost(Protocol):
    """A cost that is the sum of a term per block and a rest, all non-negative integers."""

    def block(self, state: State, block: BlockArch) -> int:
        """Compute the term of `block`; `state` is the state before it."""

    def rest(self, state: State) -> int:
        """Compute the cost outside the blocks; `state` is the state after the last block."""


@dataclass(frozen=True)
class MacCost:
    """MACs, as an additive cost."""

    shape: BackboneShape

    def block(self, state: State, block: BlockArch) -> int:
        return block_cost(state, block, self.shape).macs

    def rest(self, state: State) -> int:
        return rest_term(state, self.shape)[1]


@dataclass(frozen=True)
class BackboneMacCost(MacCost):
    """MACs without those of the head, as an additive cost."""

    def rest(self, state: State) -> int:
        return self.shape.stem.macs


@dataclass(frozen=True)
class ParamCost:
    """Parameters of the subnet, as an additive cost."""

    shape: BackboneShape

    def block(self, state: State, block: BlockArch) -> int:
        return block_cost(state, block, self.shape).params

    def rest(self, state: State) -> int:
        return self.shape.stem.params + self.shape.head.params


@dataclass(frozen=True)
class TokenCost:
    """Patch tokens summed over the blocks, as an additive cost."""

    shape: BackboneShape

    def block(self, state: State, block: BlockArch) -> int:
        return advance(state, block).tokens.processed

    def rest(self, state: State) -> int:
        return 0


def total(arch: Arch, shape: BackboneShape, cost: AdditiveCost) -> int:
    """Compute an additive cost of an arch."""
    states, blocks = trace(arch, shape)
    return sum(map(cost.block, states, blocks)) + cost.rest(states[-1])


def macs(arch: Arch, shape: BackboneShape) -> int:
    """Compute the multiply-accumulates of the subnet for one image.

    Raises:
        InputError: The arch does not fit the backbone or breaks a rule.
    """
    return total(arch, shape, MacCost(shape))


def backbone_macs(arch: Arch, shape: BackboneShape) -> int:
    """Compute the MACs of the subnet without its head, of which papers on dense tasks speak.

    Raises:
        InputError: The arch does not fit the backbone or breaks a rule.
    """
    return total(arch, shape, BackboneMacCost(shape))


def params(arch: Arch, shape: BackboneShape) -> int:
    """Count the parameters of the subnet, only those that the arch uses.

    Raises:
        InputError: The arch does not fit the backbone or breaks a rule.
    """
    return total(arch, shape, ParamCost(shape))


def backbone_params(arch: Arch, shape: BackboneShape) -> int:
    """Count the parameters of the subnet without those of its head.

    Raises:
        InputError: The arch does not fit the backbone or breaks a rule.
    """
    return params(arch, shape) - shape.head.params


def token_counts(arch: Arch, shape: BackboneShape) -> list[int]:
    """Return the number of patch tokens that each block processes.

    Raises:
        InputError: The arch does not fit the backbone or breaks a rule.
    """
    return [after.tokens.processed for after in trace(arch, shape).states[1:]]


def activation_memory(arch: Arch, shape: BackboneShape) -> int:
    """Compute the activation memory in bytes of float32 for one image, as defined above.

    Raises:
        InputError: The arch does not fit the backbone or breaks a rule.
    """
    states, blocks = trace(arch, shape)
    costs = [block_cost(*pair, shape) for pair in zip(states, blocks, strict=False)]
    return FLOAT32 * max(max(cost.before, cost.held + cost.within) for cost in costs)
