"""The state of the tokens along an arch.

Operators change it block by block (`space.operators`); rules, costs, counting and genes depend on
it alone.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from space.arch import Grid


class Tokens(NamedTuple):
    """The patch tokens before or after a block, readable by every operator.

    Args:
        grid: Height and width of the token grid; None where the tokens form no grid.
        patches: Number of patch tokens.
        selected: Number of patch tokens selected for the current run; 0 outside runs.
        changed: Whether the last block's attention ran on another set of tokens.
        own_maps: Whether the last block computed its own attention maps.
    """

    grid: Grid | None
    patches: int
    selected: int = 0
    changed: bool = False
    own_maps: bool = False

    @property
    def processed(self) -> int:
        """Number of patch tokens that the block at this point processes."""
        return self.selected or self.patches


class State(NamedTuple):
    """The state before or after a block; rules, costs and choices depend on nothing else.

    Args:
        tokens: The patch tokens.
        counters: The counter of each operator, in the order of the registry.
    """

    tokens: Tokens
    counters: tuple[Any, ...]
