"""What tokens there are along an arch: the facts that every operator may read.

A token operator changes them block by block (`space.operators`); rules, costs, counting and genes
all follow from them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from space.arch import Grid


class Tokens(NamedTuple):
    """The patch tokens at one place of a network.

    Args:
        grid: Height and width of the token grid; None where the tokens form no grid.
        patches: How many there are.
        inside: Patch tokens that go through a run of blocks that the others bypass; 0 outside one.
        changed: Whether they are others than the attention of the last block saw.
        own_maps: Whether the last block made attention maps of its own.
    """

    grid: Grid | None
    patches: int
    inside: int = 0
    changed: bool = False
    own_maps: bool = False

    @property
    def seen(self) -> int:
        """Patch tokens that a block works on at this place."""
        return self.inside or self.patches


class State(NamedTuple):
    """What a block finds: all that its rules, its costs and its choices depend on.

    Args:
        tokens: The patch tokens.
        own: What each operator counts for itself, in the order of the registry.
    """

    tokens: Tokens
    own: tuple[Any, ...]
