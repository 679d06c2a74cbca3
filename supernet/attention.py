"""Attention with its own maps, or with those of the block before (PSViT attention sharing).

B images, N tokens, D width, H heads, d = A / H, A attention width. The projections are those of
timm's `Attention`; maps are per head, after the softmax and before attention dropout.
"""

from __future__ import annotations

from typing import NamedTuple

from timm.layers.attention import Attention
from torch import Tensor
from torch.nn import functional as F


class Want(NamedTuple):
    """What later blocks, or a selector, need of a block's attention."""

    map: bool = False
    logits: bool = False
    query_key: bool = False


class Exposed(NamedTuple):
    """What a block's attention leaves for others; None where nobody asked.

    Args:
        map: A, (B, H, N, N), after the softmax.
        logits: scaled, after any q/k norm, (B, H, N, N).
        query, key: after any q/k norm, (B, H, N, d).
    """

    map: Tensor | None = None
    logits: Tensor | None = None
    query: Tensor | None = None
    key: Tensor | None = None


def own_attention(attn: Attention, x: Tensor, want: Want) -> tuple[Tensor, Exposed]:
    """timm's attention; fused unless somebody needs the N x N maps. (B, N, D) to (B, N, D)."""
    query, key, value = project(attn, x)
    logits = maps = None
    if attn.fused_attn and not (want.map or want.logits):
        dropout = attn.attn_drop.p if attn.training else 0.0
        y = F.scaled_dot_product_attention(query, key, value, dropout_p=dropout)
    else:
        logits = (query * attn.scale) @ key.transpose(-2, -1)
        maps = logits.softmax(dim=-1)
        y = attn.attn_drop(maps) @ value
    exposed = Exposed(
        maps if want.map else None,
        logits if want.logits else None,
        query if want.query_key else None,
        key if want.query_key else None,
    )
    return _join(attn, x, y), exposed


def project(attn: Attention, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys (after any norm) and values of tokens (B, N, D), each (B, H, N, d)."""
    batch, n, _ = x.shape
    qkv = attn.qkv(x).reshape(batch, n, 3, attn.num_heads, attn.head_dim).permute(2, 0, 3, 1, 4)
    query, key, value = qkv.unbind(0)
    return attn.q_norm(query), attn.k_norm(key), value


def shared_attention(attn: Attention, x: Tensor, maps: Tensor) -> Tensor:
    """The same with given maps (B, H, N, N): value and output projections alone.

    The value rows are the last A of `qkv`; in an extracted subnet they are all that it has.
    """
    batch, n, _ = x.shape
    weight = attn.qkv.weight[-attn.attn_dim :]
    bias = None if attn.qkv.bias is None else attn.qkv.bias[-attn.attn_dim :]
    value = F.linear(x, weight, bias).reshape(batch, n, attn.num_heads, attn.head_dim)
    return _join(attn, x, attn.attn_drop(maps) @ value.transpose(1, 2))


def _join(attn: Attention, x: Tensor, y: Tensor) -> Tensor:
    """Heads (B, H, N, d) to tokens (B, N, D)."""
    y = attn.norm(y.transpose(1, 2).reshape(*x.shape[:2], attn.attn_dim))
    if attn.gate is not None:
        y = y * attn.gate(x).sigmoid()
    return attn.proj_drop(attn.proj(y))  # type: ignore[no-any-return]
