"""The plan of an arch: the operators, needs and run ends of each block."""

from __future__ import annotations

from typing import NamedTuple

from space.arch import Arch, BlockArch
from space.operators.registry import cached
from space.operators.walk import advance, trace, turns
from space.shape import BackboneShape
from space.state import State, Tokens
from supernet.operators.base import Action, Need, TokenOperator
from supernet.operators.registry import token_operator


class Step(NamedTuple):
    """One block of a plan; where plans begin with equal steps, their archs compute the same.

    Args:
        actions: Operators applied to the tokens before the block.
        needs: (need, operator) pairs of the next block, met by this block's attention.
        restores: Whether a run ends, and all tokens are restored, after the block.
        after: The tokens after the block.
    """

    actions: tuple[Action, ...]
    needs: tuple[tuple[Need, TokenOperator], ...]
    restores: bool
    after: Tokens


@cached(1 << 12)
def plan(arch: Arch, shape: BackboneShape) -> tuple[Step, ...]:
    """Compute the steps of `arch`, one per block.

    Raises:
        InputError: The arch does not fit the backbone or breaks a rule.
    """
    states, blocks = trace(arch, shape)
    actions = [block_actions(*pair) for pair in zip(states, blocks, strict=False)]
    steps = []
    for i, after in enumerate(state.tokens for state in states[1:]):
        following = actions[i + 1] if i + 1 < arch.depth else ()
        pairs = ((each.operator.need(each), each.operator) for each in following)
        ends = i + 1 == arch.depth or not states[i + 2].tokens.selected
        steps.append(
            Step(
                actions=actions[i],
                needs=tuple((need, each) for need, each in pairs if need is not None),
                restores=after.selected > 0 and ends,
                after=after,
            )
        )
    return tuple(steps)


def block_actions(state: State, block: BlockArch) -> tuple[Action, ...]:
    """Return the actions of a block in canonical form; `state` is the state before it."""
    parts = list(turns(state, block))
    after = [*(turn.tokens for turn in parts[1:]), advance(state, block).tokens]
    return tuple(
        Action(token_operator(turn.operator.name), turn.choice, turn.tokens, tokens)
        for turn, tokens in zip(parts, after, strict=True)
        if turn.choice != turn.operator.plain
    )
