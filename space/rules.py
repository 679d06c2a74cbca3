"""The validity rules: one function each, which gives the reason why a block breaks it, or None.

Each looks at one block, in canonical form, in the state that the blocks before it left. `Limits`
are what a space allows; without a space there are none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from space.arch import BlockArch, Grid, Pool
from space.tokens import State, halved, kept, pooled

UNLIMITED: Final = 1 << 62


@dataclass(frozen=True, slots=True)
class Limits:
    """At most so many poolings, skipping blocks in a row and shared blocks in a row."""

    pools: int = UNLIMITED
    skip_run: int = UNLIMITED
    share_run: int = UNLIMITED


Rule = Callable[[int, State, BlockArch, Limits], str | None]


def shared_needs_same_tokens(i: int, state: State, block: BlockArch, _: Limits) -> str | None:
    """Rule 1: a shared block sees exactly the tokens that the block before it saw."""
    if not block.shared:
        return None
    if i == 0:
        return "block 0 has no block before it whose maps it could share"
    if block.pool is not None:
        return "a block that pools cannot share the maps of the block before, made on other tokens"
    if (state.run > 0) != (block.skip > 0):
        return "a block can share maps only with a block that saw exactly the same tokens"
    return None


def run_starts_after_full_own_block(
    i: int, state: State, block: BlockArch, _: Limits
) -> str | None:
    """Rule 2: what selects tokens is read off a block that saw all of them and has its own map."""
    if block.skip == 0 or state.run > 0:
        return None
    if i == 0:
        return "block 0 cannot skip: the block before a run scores its tokens"
    if block.pool is not None:
        return "a block cannot both pool and skip"
    if state.shared:
        return "a run of skipping blocks starts only after a block that attends by itself (own)"
    return None


def run_keeps_its_tokens(i: int, state: State, block: BlockArch, limits: Limits) -> str | None:
    """Rule 3: inside a run the ratio stays, nothing is pooled, and its length is bounded."""
    if block.skip == 0:
        return None
    if state.run and block.pool is not None:
        return "no pooling inside a run of skipping blocks"
    if state.run and kept(block.skip, state.tokens) != state.kept:
        return f"skip {block.skip} differs from the ratio at which this run of blocks started"
    if state.run >= limits.skip_run:
        return f"more than {limits.skip_run} skipping blocks in a row (skip.max_run)"
    return None


def shared_runs_are_short(i: int, state: State, block: BlockArch, limits: Limits) -> str | None:
    """Rule 4: at most `share.max_run` shared blocks in a row."""
    if block.shared and state.shared >= limits.share_run:
        return f"more than {limits.share_run} shared blocks in a row (share.max_run)"
    return None


def pools_shrink(i: int, state: State, block: BlockArch, limits: Limits) -> str | None:
    """Rule 5: tokens never grow, poolings are few, and 2-D kinds need a grid."""
    pool = block.pool
    if pool is None:
        return None
    if state.pools >= limits.pools:
        return f"more than {limits.pools} poolings (pool.max_pools)"
    if pool.grid is not None:
        return _grid_shrinks(state, pool, pool.grid)
    grown = pooled(state, pool)[1] >= state.tokens
    return f"pool {pool} does not reduce {state.tokens} tokens" if grown else None


def _grid_shrinks(state: State, pool: Pool, target: Grid) -> str | None:
    if state.grid is None:
        return f"pool {pool} needs a token grid; after a 1-D pooling there is none"
    height, width = state.grid
    if target[0] > height or target[1] > width or target == state.grid:
        return f"pool {pool} is not smaller than the grid {height}x{width}"
    half = halved(state.grid)
    if pool.kind == "conv2d" and target != half:
        return f"pool {pool} must halve the grid {height}x{width} to {half[0]}x{half[1]}"
    return None


RULES: tuple[Rule, ...] = (
    shared_needs_same_tokens,
    run_starts_after_full_own_block,
    run_keeps_its_tokens,
    shared_runs_are_short,
    pools_shrink,
)


def broken(i: int, state: State, block: BlockArch, limits: Limits = Limits()) -> list[str]:
    """The reasons why `block` cannot stand at place `i`; empty where it can."""
    reasons = (rule(i, state, block, limits) for rule in RULES)
    return [reason for reason in reasons if reason is not None]
