"""Heads that predict a map: they read the tokens of several blocks at all places of the grid.

B images, D width, (h, w) a token grid, C channels of the output.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn

# Name of the output of other heads.
LOGITS = "logits"


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

    Attributes:
        output_name: Name of its output in exported files, such as `depth`.
    """

    output_name: str = LOGITS

    def __init__(self, blocks: Sequence[int], grid: tuple[int, int]) -> None:
        super().__init__()
        self.blocks = tuple(blocks)
        self.grid = grid

    @abstractmethod
    def forward(self, features: Sequence[Features]) -> Tensor:
        """Map the features of `blocks` to a map (B, C, H, W)."""


def remove_head(backbone: Any) -> None:
    """Remove timm's head of a backbone, and attention pooling with it."""
    backbone.reset_classifier(0, "token" if backbone.has_class_token else "avg")


def set_head(backbone: Any, head: DenseHead) -> None:
    """Replace the head of a backbone; an elastic model updates the costs of its shape."""
    backbone.head = head
    update = getattr(backbone, "update_head_cost", None)
    if update is not None:
        update()
