"""What the plot of an arch shows: each of its blocks in numbers."""

from __future__ import annotations

from dataclasses import dataclass

from space.arch import Arch
from space.cost import mac_cost
from space.operators.walk import trace
from space.shape import BackboneShape
from space.state import State, starts_run, through


@dataclass(frozen=True)
class BlockData:
    """A block.

    Args:
        tokens_before: Patch tokens that there are before the block and its pooling.
        tokens: Patch tokens that the block works on.
        bypass: Patch tokens that bypass it.
        macs: MACs of the block, with its pooling or its selector.
        pool: Its pooling, and what it makes of the tokens; empty for none.
        selector: The selector that chooses the tokens; empty but for the first block of a run.
        producer: The block whose attention maps it reuses; None where it makes its own.
    """

    tokens_before: int
    tokens: int
    bypass: int
    macs: int
    pool: str
    selector: str
    producer: int | None


@dataclass(frozen=True)
class ArchData:
    """An arch.

    Args:
        blocks: Its blocks, in order.
        rest_macs: MACs of stem and head, which belong to no block.
        prefix: Number of the prefix tokens.
    """

    blocks: list[BlockData]
    rest_macs: int
    prefix: int


def collect_arch_data(arch: Arch, shape: BackboneShape) -> ArchData:
    """Follow an arch along a backbone.

    Raises:
        InputError: the arch does not fit the backbone or breaks a rule.
    """
    states, blocks = trace(arch, shape)
    cost, data, producer = mac_cost(shape), [], 0
    for i, block in enumerate(blocks):
        before, after = states[i], states[i + 1]
        producer = producer if block.shared else i
        tokens = through(before, block)
        pool = f"{block.pool.kind}\n{_size(before)}\n→ {_size(after)}" if block.pool else ""
        data.append(
            BlockData(
                tokens_before=before.tokens,
                tokens=tokens,
                bypass=after.tokens - tokens,
                macs=cost.block(before, block),
                pool=pool,
                selector=block.selector if starts_run(before, block) else "",
                producer=producer if block.shared else None,
            )
        )
    return ArchData(data, cost.rest(states[-1]), shape.prefix)


def _size(state: State) -> str:
    return str(state.tokens) if state.grid is None else f"{state.grid[0]} x {state.grid[1]}"
