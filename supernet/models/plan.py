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
    # After the last block no operator follows, and no run goes on.
    actions = [*map(block_actions, range(arch.depth), states, blocks), ()]
    selected = [*(state.tokens.selected for state in states[1:]), 0]
    steps = []
    for i, state in enumerate(states[1:]):
        pairs = ((each.operator.need(each), each.operator) for each in actions[i + 1])
        needs = tuple((need, operator) for need, operator in pairs if need is not None)
        restores = selected[i] > 0 and not selected[i + 1]
        steps.append(Step(actions[i], needs, restores, state.tokens))
    return tuple(steps)


def block_actions(i: int, state: State, block: BlockArch) -> tuple[Action, ...]:
    """Return the actions of block `i` in canonical form; `state` is the state before it."""
    parts = list(turns(state, block))
    after = [*(turn.tokens for turn in parts[1:]), advance(state, block).tokens]
    return tuple(
        Action(token_operator(turn.operator.name), turn.choice, turn.tokens, tokens, i)
        for turn, tokens in zip(parts, after, strict=True)
        if turn.choice != turn.operator.plain
    )
