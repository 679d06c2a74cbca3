"""The data of an arch's plot: tokens, MACs and operators of each block."""

from __future__ import annotations

from dataclasses import dataclass

from space.arch import Arch, BlockArch
from space.cost import MacCost
from space.operators.base import Kind
from space.operators.walk import trace, turns
from space.shape import BackboneShape
from space.state import State


@dataclass(frozen=True)
class BlockData:
    """Data of a block.

    Args:
        tokens_before: Patch tokens before the block and its pooling.
        tokens: Patch tokens that the block works on.
        bypass: Patch tokens that skip the block.
        macs: MACs of the block, including pooling and selector, if any.
        pool: Label of its pooling, with the tokens before and after; empty for none.
        selector: Label of its selector; empty except at the start of a run of skipping blocks.
        producer: Index of the block whose attention maps it reuses; None where it computes its own.
    """

    tokens_before: int
    tokens: int
    bypass: int
    macs: int
    pool: str
    selector: str
    producer: int | None


def collect_arch_data(arch: Arch, shape: BackboneShape) -> list[BlockData]:
    """Collect the data of an arch's blocks.

    Raises:
        InputError: The arch does not fit the backbone or breaks a validity rule.
    """
    states, blocks = trace(arch, shape)
    cost, data, producer = MacCost(shape), [], 0
    for i, block in enumerate(blocks):
        before, after = states[i], states[i + 1]
        producer = i if after.tokens.own_maps else producer
        data.append(
            BlockData(
                tokens_before=before.tokens.patches,
                tokens=after.tokens.processed,
                bypass=after.tokens.patches - after.tokens.processed,
                macs=cost.block(before, block),
                pool=_label("reduce", before, after, block),
                selector=_label("subset", before, after, block),
                producer=None if after.tokens.own_maps else producer,
            )
        )
    return data


def _label(kind: Kind, before: State, after: State, block: BlockArch) -> str:
    """Describe the operators of a kind at a block, a short line each."""
    labels = (
        turn.operator.label(before.tokens, after.tokens, turn.choice)
        for turn in turns(before, block)
        if turn.operator.kind == kind and turn.choice != turn.operator.plain
    )
    return "\n".join(filter(None, labels))
