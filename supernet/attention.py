"""Attention with its own maps, or with those of the block before (PSViT attention sharing).

B images, N tokens, D width, H heads, d = A / H, A attention width. The projections are those of
timm's `Attention`; maps are per head, after the softmax and before attention dropout.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from timm.layers.attention import Attention
from torch import Tensor
from torch.nn import functional as F

# Maps made at once on a CPU: so many bytes of them stay in its cache until they are used up.
CACHED_BYTES = 3 << 20

# Maps of a batch (B, H, N, N), in parts (b, H, N, N) of some images after the other: where they are
# made part by part, joining them would take longer than the attention itself.
Maps = tuple[Tensor, ...]


class Want(NamedTuple):
    """What others need of a block's attention.

    Args:
        map: whether later blocks share its map.
        scores: what scores tokens by its logits: (b, H, N, N) to importance (b, P).
        row_scores: what scores them by its queries and keys: (b, H, N, d) twice to (b, P).
        query_key: whether somebody observes its queries and keys.
    """

    map: bool = False
    scores: Callable[[Tensor], Tensor] | None = None
    row_scores: Callable[[Tensor, Tensor], Tensor] | None = None
    query_key: bool = False


class Exposed(NamedTuple):
    """What a block's attention leaves for others; None where nobody asked.

    Args:
        maps: A, (B, H, N, N) in all, after the softmax.
        importance: of the patch tokens, (B, P), as `scores` or `row_scores` gave it.
        query, key: after any q/k norm, (B, H, N, d).
    """

    maps: Maps | None = None
    importance: Tensor | None = None
    query: Tensor | None = None
    key: Tensor | None = None


def own_attention(attn: Attention, x: Tensor, want: Want) -> tuple[Tensor, Exposed]:
    """timm's attention; fused unless somebody needs the N x N maps. (B, N, D) to (B, N, D)."""
    query, key, value = project(attn, x)
    if attn.fused_attn and not want.map and want.scores is None:
        dropout = attn.attn_drop.p if attn.training else 0.0
        y = _tokens(F.scaled_dot_product_attention(query, key, value, dropout_p=dropout))
        maps = importance = None
    else:
        y, maps, importance = _by_maps(attn, query, key, value, want)
    if want.row_scores is not None:
        importance = want.row_scores(query, key)
    observed = (query, key) if want.query_key else (None, None)
    return _output(attn, x, y), Exposed(maps, importance, *observed)


def _by_maps(
    attn: Attention, query: Tensor, key: Tensor, value: Tensor, want: Want
) -> tuple[Tensor, Maps | None, Tensor | None]:
    """Values read through the maps (B, N, A), the maps, and importance by their logits.

    The batch goes part by part: of maps that nobody keeps only those of a part are there at once.
    """
    ys, maps, scores = [], [], []
    for q, k, v in _parts(query, key, value):
        logits = (q * attn.scale) @ k.transpose(-2, -1)
        if want.scores is not None:
            scores.append(want.scores(logits))
        a = logits.softmax(dim=-1).to(v.dtype)
        ys.append(_tokens(attn.attn_drop(a) @ v))
        if want.map:
            maps.append(a)
    return _joined(ys), tuple(maps) or None, _joined(scores) if scores else None


def _parts(*tensors: Tensor) -> Iterable[tuple[Tensor, ...]]:
    """On a CPU so many images at a time that their maps stay in its cache; else all of them.

    A compiler and an exporter are shown all images too: how many there are is open then.
    """
    batch, heads, n, _ = tensors[0].shape
    traced = torch.compiler.is_compiling() or torch.jit.is_tracing()  # type: ignore[no-untyped-call, attr-defined]
    if traced or tensors[0].device.type != "cpu":
        return [tensors]
    at_once = max(1, CACHED_BYTES // (heads * n * n * tensors[0].element_size()))
    if at_once >= batch:
        return [tensors]
    return zip(*(tensor.split(at_once) for tensor in tensors), strict=True)


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def project(attn: Attention, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys (after any norm) and values of tokens (B, N, D), each (B, H, N, d)."""
    batch, n, _ = x.shape
    qkv = attn.qkv(x).reshape(batch, n, 3, attn.num_heads, attn.head_dim).permute(2, 0, 3, 1, 4)
    query, key, value = qkv.unbind(0)
    return attn.q_norm(query), attn.k_norm(key), value


def shared_attention(attn: Attention, x: Tensor, maps: Maps) -> Tensor:
    """The same with given maps (B, H, N, N in all): value and output projections alone.

    The value rows are the last A of `qkv`; in an extracted subnet they are all that it has.
    """
    batch, n, _ = x.shape
    weight = attn.qkv.weight[-attn.attn_dim :]
    bias = None if attn.qkv.bias is None else attn.qkv.bias[-attn.attn_dim :]
    value = F.linear(x, weight, bias).reshape(batch, n, attn.num_heads, attn.head_dim)
    value = value.transpose(1, 2)
    values = [value] if len(maps) == 1 else value.split([len(part) for part in maps])
    parts = zip(maps, values, strict=True)
    return _output(attn, x, _joined([_tokens(attn.attn_drop(a) @ v) for a, v in parts]))


def _tokens(y: Tensor) -> Tensor:
    """Heads (b, H, N, d) beside each other: (b, N, A)."""
    return y.transpose(1, 2).flatten(2)


def _output(attn: Attention, x: Tensor, y: Tensor) -> Tensor:
    """What the heads have read (B, N, A), projected: (B, N, D)."""
    y = attn.norm(y)
    if attn.gate is not None:
        y = y * attn.gate(x).sigmoid()
    return attn.proj_drop(attn.proj(y))  # type: ignore[no-any-return]
