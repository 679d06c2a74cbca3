"""Heads that predict a map: they read the tokens of several blocks at all places of the grid.

B images, D width, (h, w) a token grid, C outputs.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn


class Features(NamedTuple):
    """The normed tokens after a block.

    Args:
        patches: Patch tokens at their places, (B, D, h, w), also those that bypass a run.
        prefix: Prefix tokens, (B, prefix, D).
    """

    patches: Tensor
    prefix: Tensor


class DenseHead(nn.Module):
    """A head over the features of some blocks, in place of timm's head of a backbone.

    Args:
        blocks: The blocks whose features it reads, ascending, up to the last block.
        grid: Token grid of the backbone; features of smaller grids are resized to it.
    """

    def __init__(self, blocks: Sequence[int], grid: tuple[int, int]) -> None:
        super().__init__()
        self.blocks = tuple(blocks)
        self.grid = grid

    @abstractmethod
    def forward(self, features: Sequence[Features]) -> Tensor:
        """Map the features of `blocks` to a map (B, C, H, W)."""
