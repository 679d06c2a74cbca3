"""One elastic block: timm's `Block`, with its own attention maps or those of the one before."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from supernet.attention import Exposed, Maps, Want, own_attention, shared_attention


def run_block(block: nn.Module, x: Tensor, maps: Maps | None, want: Want) -> tuple[Tensor, Exposed]:
    """Tokens (B, N, D) through a timm block.

    Args:
        block: timm's pre-norm `Block`.
        x: the tokens that it sees.
        maps: (B, H, N, N in all) of the block before, where this one shares them; else None.
        want: what later blocks need of its attention.
    """
    timm_block: Any = block
    x, exposed = _attend(timm_block, x, maps, want)
    x = x + timm_block.drop_path2(timm_block.ls2(timm_block.mlp(timm_block.norm2(x))))
    return x, exposed


def _attend(block: Any, x: Tensor, maps: Maps | None, want: Want) -> tuple[Tensor, Exposed]:
    """The attention half; on its own, so that nothing of it is alive beside the MLP's."""
    tokens = block.norm1(x)
    if maps is None:
        y, exposed = own_attention(block.attn, tokens, want)
    else:
        y = shared_attention(block.attn, tokens, maps)
        exposed = Exposed(maps=maps if want.map else None)
    return x + block.drop_path1(block.ls1(y)), exposed
