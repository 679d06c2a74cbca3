"""What each block has to do for an arch, worked out ahead: who needs whose maps, where runs end."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from space.arch import Arch, Grid, Pool, Selector
from space.cost import trace
from space.shape import BackboneShape
from space.tokens import starts_run


@dataclass(frozen=True, slots=True)
class Step:
    """One block of a plan.

    Args:
        pool: token pooling before the block.
        grid: of the patch tokens before that pooling.
        selector: what chooses the tokens before the block, on the first block of a run.
        keep: how many it chooses.
        shared: whether the block takes the maps of the one before.
        keeps_map: whether the next block shares this one's maps.
        scores: what scores tokens by this block's attention, for a run that starts after it.
        ends_run: whether the chosen tokens go back to their places after the block.
        grid_after: grid of the patch tokens after the block; None after a 1-D pooling.
    """

    pool: Pool | None
    grid: Grid | None
    selector: Selector | None
    keep: int
    shared: bool
    keeps_map: bool
    scores: Selector | None
    ends_run: bool
    grid_after: Grid | None


@lru_cache(maxsize=4096)
def plan(arch: Arch, shape: BackboneShape) -> tuple[Step, ...]:
    """The steps of `arch`, one a block.

    Raises:
        InputError: the arch does not fit the backbone or breaks a rule.
    """
    states, blocks = trace(arch, shape)
    steps = []
    for i, block in enumerate(blocks):
        state, after = states[i], states[i + 1]
        following = blocks[i + 1] if i + 1 < arch.depth else None
        selects = following is not None and starts_run(after, following)
        steps.append(
            Step(
                pool=block.pool,
                grid=state.grid,
                selector=block.selector if starts_run(state, block) else None,
                keep=after.kept,
                shared=block.shared,
                keeps_map=following is not None and following.shared,
                scores=following.selector if following is not None and selects else None,
                ends_run=after.run > 0 and (following is None or following.skip == 0),
                grid_after=after.grid,
            )
        )
    return tuple(steps)
