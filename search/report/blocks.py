"""What each block of an arch does, in numbers: what the picture of an arch draws."""

from __future__ import annotations

from typing import NamedTuple

from space.arch import Arch
from space.cost import mac_cost
from space.operators.walk import trace
from space.shape import BackboneShape
from space.state import State, starts_run, through


class BlockFigures(NamedTuple):
    """A block.

    Args:
        before: patch tokens that there are before the block and its pooling.
        tokens: patch tokens that the block works on.
        bypass: patch tokens that bypass it.
        macs: of the block, with its pooling or its selector.
        pool: the kind of its pooling, with what it makes of the tokens; empty for none.
        selector: what chooses the tokens; empty but for the first block of a run.
        producer: the block whose attention maps it reuses; None where it makes its own.
    """

    before: int
    tokens: int
    bypass: int
    macs: int
    pool: tuple[str, str, str] | tuple[()] = ()
    selector: str = ""
    producer: int | None = None


def block_figures(arch: Arch, shape: BackboneShape) -> list[BlockFigures]:
    """The figures of every block, in order.

    Raises:
        InputError: the arch does not fit the backbone or breaks a rule.
    """
    states, blocks = trace(arch, shape)
    cost, found, producer = mac_cost(shape), [], 0
    for i, block in enumerate(blocks):
        state, after = states[i], states[i + 1]
        producer = producer if block.shared else i
        tokens = through(state, block)
        found.append(
            BlockFigures(
                before=state.tokens,
                tokens=tokens,
                bypass=after.tokens - tokens,
                macs=cost.block(state, block),
                pool=(block.pool.kind, _size(state), _size(after)) if block.pool else (),
                selector=block.selector if starts_run(state, block) else "",
                producer=producer if block.shared else None,
            )
        )
    return found


def rest_macs(arch: Arch, shape: BackboneShape) -> int:
    """MACs of stem and head, which belong to no block."""
    return mac_cost(shape).rest(trace(arch, shape).states[-1])


def _size(state: State) -> str:
    if state.grid is None:
        return str(state.tokens)
    return f"{state.grid[0]} x {state.grid[1]}"
