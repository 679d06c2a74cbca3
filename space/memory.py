"""Activation memory of an arch: the most bytes alive at once, in inference, for one image.

An analytic figure to rank archs by, not what an allocator reports: weights, images, stem and head,
work space of kernels and what a runtime reuses in place are left out.

A block works on N tokens (prefix tokens included) of width D, with H heads, attention width A and
M = MACs of the MLP per token / D, which is what its hidden tensors are wide together (input and
output of the activation). Elements alive, the largest of:

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

from space.arch import Arch, BlockArch
from space.cost import trace
from space.shape import BackboneShape
from space.tokens import State, pooled, starts_run, through


class PeakMemory:
    """Activation memory as a term per block; an arch needs the largest of them.

    A term covers the block, and the block before it with what this one makes it keep.

    Args:
        shape: the backbone.
        element: bytes of an element.
    """

    def __init__(self, shape: BackboneShape, element: int) -> None:
        self.shape = shape
        self.element = element
        self._hidden = shape.mlp.macs // shape.width

    def block(self, state: State, block: BlockArch) -> int:
        """Bytes that `block` at `state` needs at its peak."""
        shape = self.shape
        n = through(state, block) + shape.prefix
        run = (state.tokens + shape.prefix) * shape.width if block.skip else 0
        most = run + max(self._attention(n, shared=block.shared, mapped=False), self._mlp(n))
        if block.pool is not None:
            tokens = state.tokens + pooled(state, block.pool)[1] + 2 * shape.prefix
            most = max(most, tokens * shape.width)
        elif starts_run(state, block):
            most = max(most, self._selection(state, block))
        if block.shared and not state.shared:
            # The map is alive from the block before, which makes it, to the last that shares it;
            # they all work on the same tokens.
            produced = self._attention(n, shared=False, mapped=True)
            most = max(most, run + max(produced, self._mlp(n) + shape.heads * n * n))
        return most * self.element

    def _attention(self, n: int, shared: bool, mapped: bool) -> int:
        shape = self.shape
        projected = (2 if shared else 4) * n * shape.attention_width
        maps = (shared + 2 * mapped) * shape.heads * n * n
        return 2 * n * shape.width + projected + maps

    def _mlp(self, n: int) -> int:
        return n * (2 * self.shape.width + self._hidden)

    def _selection(self, state: State, block: BlockArch) -> int:
        """The block before a run, whose attention the selector reads."""
        shape = self.shape
        n = state.tokens + shape.prefix
        mapped = block.selector == "map"
        attention = self._attention(n, shared=False, mapped=mapped)
        return max(self._mlp(n), attention + mapped * shape.heads * n * n)


@lru_cache(maxsize=64)
def peak_memory(shape: BackboneShape, element: int = 4) -> PeakMemory:
    return PeakMemory(shape, element)


def activation_memory(arch: Arch, shape: BackboneShape, element: int = 4) -> int:
    """Most bytes of activations alive at once for one image, as defined above.

    Args:
        arch: the choices.
        shape: the backbone.
        element: bytes of an element; 4 for float32.

    Raises:
        InputError: the arch does not fit the backbone or breaks a rule.
    """
    states, blocks = trace(arch, shape)
    return max(map(peak_memory(shape, element).block, states, blocks))
