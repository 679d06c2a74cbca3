"""What each block has to do for an arch, worked out ahead: who needs what, and where runs end."""

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
    """One block of a plan; archs whose plans begin with the same steps compute the same there.

    Args:
        actions: What is done to the tokens before the block.
        asks: What the next block's operators need of this block's attention.
        own_maps: Whether the block makes its attention maps itself.
        restores: Whether all tokens go back to their places after the block.
        after: The tokens after the block.
    """

    actions: tuple[Action, ...]
    asks: tuple[tuple[Need, TokenOperator], ...]
    own_maps: bool
    restores: bool
    after: Tokens


@cached(1 << 12)
def plan(arch: Arch, shape: BackboneShape) -> tuple[Step, ...]:
    """The steps of `arch`, one a block.

    Raises:
        InputError: The arch does not fit the backbone or breaks a rule.
    """
    states, blocks = trace(arch, shape)
    actions = [block_actions(*pair) for pair in zip(states, blocks, strict=False)]
    steps = []
    for i, after in enumerate(state.tokens for state in states[1:]):
        following = actions[i + 1] if i + 1 < arch.depth else ()
        needs = ((each.operator.need(each), each.operator) for each in following)
        ends = i + 1 == arch.depth or not states[i + 2].tokens.inside
        steps.append(
            Step(
                actions=actions[i],
                asks=tuple((need, each) for need, each in needs if need is not None),
                own_maps=after.own_maps,
                restores=after.inside > 0 and ends,
                after=after,
            )
        )
    return tuple(steps)


def block_actions(state: State, block: BlockArch) -> tuple[Action, ...]:
    """What a block in canonical form does at a state, in order."""
    found, after = [], advance(state, block)
    every = list(turns(state, block))
    for k, (operator, tokens, _, choice) in enumerate(every):
        left = every[k + 1].tokens if k + 1 < len(every) else after.tokens
        if choice != operator.plain:
            found.append(Action(token_operator(operator.name), choice, tokens, left))
    return tuple(found)
