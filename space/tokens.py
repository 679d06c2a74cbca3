"""What tokens there are along an arch: the state that rules, costs, counting and genes share.

P patch tokens are there before a block; K of them go through a block that others bypass.
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from space.arch import BlockArch, Grid, Pool, Selector
from space.shape import BackboneShape


class State(NamedTuple):
    """What block i finds. Everything that its rules and its costs depend on is in here.

    Args:
        grid: token grid, or None after a 1-D pooling.
        tokens: patch tokens that are there.
        pools: poolings so far.
        run: blocks in a row, up to the one before, that some tokens bypassed.
        kept: patch tokens that go through the blocks of that run; 0 outside a run.
        shared: blocks in a row, up to the one before, with shared attention.
    """

    grid: Grid | None
    tokens: int
    pools: int = 0
    run: int = 0
    kept: int = 0
    shared: int = 0


def start(shape: BackboneShape) -> State:
    """The state before block 0."""
    return State(shape.grid, shape.patch_tokens)


@lru_cache(maxsize=65536)
def kept(skip: float, tokens: int) -> int:
    """K = P - floor(skip * P), in exact decimals: 0.29 * 100 skips 29 tokens, not 28."""
    return tokens - int(Fraction(str(skip)) * tokens)


def pooled(state: State, pool: Pool) -> tuple[Grid | None, int]:
    """Grid and number of the patch tokens after `pool`."""
    if pool.grid is not None:
        return pool.grid, pool.grid[0] * pool.grid[1]
    assert pool.stride is not None
    return None, -(-state.tokens // pool.stride)


def halved(grid: Grid) -> Grid:
    """The grid that a 2-D convolution of stride 2 gives."""
    return -(-grid[0] // 2), -(-grid[1] // 2)


def effective(state: State, block: BlockArch) -> BlockArch:
    """`block` without what changes nothing at `state`: pool first, then skip.

    A pooling to the tokens that are there, a skip that keeps all of them, and a selector anywhere
    but on the first block of a run count for nothing.
    """
    pool, tokens = block.pool, state.tokens
    if pool is not None and pooled(state, pool) in (state[:2], (None, tokens)):
        pool = None
    if pool is not None:
        tokens = pooled(state, pool)[1]
    skip = 0.0 if kept(block.skip, tokens) == tokens else block.skip
    selector: Selector = block.selector if skip and not state.run else "map"
    if (pool, skip, selector) == (block.pool, block.skip, block.selector):
        return block
    return BlockArch(pool, skip, selector, block.attention)


def starts_run(state: State, block: BlockArch) -> bool:
    """Whether `block` is the first of a run, so that its selector chooses the tokens."""
    return block.skip > 0 and state.run == 0


def through(state: State, block: BlockArch) -> int:
    """Patch tokens that `block`, its pooling done, works on."""
    if block.skip > 0:
        return state.kept if state.run else kept(block.skip, state.tokens)
    return state.tokens if block.pool is None else pooled(state, block.pool)[1]


def advance(state: State, block: BlockArch) -> State:
    """The state after `block`, which must be valid at `state`."""
    grid, tokens, pools, run, kept_before, shared = state
    shared = shared + 1 if block.attention == "shared" else 0
    if block.pool is not None:
        grid, tokens = pooled(state, block.pool)
        return State(grid, tokens, pools + 1, 0, 0, shared)
    if block.skip > 0:
        return State(
            grid, tokens, pools, run + 1, kept_before if run else kept(block.skip, tokens), shared
        )
    return State(grid, tokens, pools, 0, 0, shared)
