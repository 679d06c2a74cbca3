"""One elastic block: timm's `Block`, with its own attention maps or those of the one before."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from supernet.attention import Exposed, Want, own_attention, shared_attention


def run_block(
    block: nn.Module, x: Tensor, maps: Tensor | None, want: Want
) -> tuple[Tensor, Exposed]:
    """Tokens (B, N, D) through a timm block.

    Args:
        block: timm's pre-norm `Block`.
        x: the tokens that it sees.
        maps: (B, H, N, N) of the block before, where this one shares them; else None.
        want: what later blocks need of its attention.
    """
    timm_block: Any = block
    tokens = timm_block.norm1(x)
    if maps is None:
        y, exposed = own_attention(timm_block.attn, tokens, want)
    else:
        y = shared_attention(timm_block.attn, tokens, maps)
        exposed = Exposed(map=maps if want.map else None)
    x = x + timm_block.drop_path1(timm_block.ls1(y))
    x = x + timm_block.drop_path2(timm_block.ls2(timm_block.mlp(timm_block.norm2(x))))
    return x, exposed
