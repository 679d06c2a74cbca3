"""timm's transformer block, extended to share attention maps between blocks.

B images, N tokens, D width, H heads, d = A / H, A attention width. The projections are those of
timm's `Attention`; maps are per head, after the softmax and before attention dropout. Called with
tokens alone, a block computes the same as timm's.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeVar, cast

import torch
from timm.layers.attention import Attention
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn import functional as F

M = TypeVar("M", bound=nn.Module)

# Bytes of maps computed at once on a CPU, so that they stay in its cache until they are used.
CACHED_BYTES = 3 << 20

# Maps of a batch (B, H, N, N) in parts (b, H, N, N), as they are computed: concatenating them would
# take longer than the attention itself.
Maps = tuple[Tensor, ...]


class Request(NamedTuple):
    """The tensors that a block's attention must expose.

    Args:
        maps: Whether to expose its maps.
        read_logits: Function from its logits (b, H, N, N) to any tensor (b, ...).
        read_rows: Function from queries and keys, (B, H, N, d) each, and the scale of the logits.
        query_key: Whether to expose its queries and keys.
        tokens: Tokens (B, N, D) whose queries and keys are exposed in place of its own, or None.
    """

    maps: bool = False
    read_logits: Callable[[Tensor], Tensor] | None = None
    read_rows: Callable[[Tensor, Tensor, float], Tensor] | None = None
    query_key: bool = False
    tokens: Tensor | None = None


class Exposed(NamedTuple):
    """The tensors that a block's attention exposes; None where not requested.

    Args:
        maps: Maps after the softmax, (B, H, N, N) in all.
        read: Result of `read_logits` or `read_rows`, (B, ...).
        query_key: Queries and keys after any q/k norm, (B, H, n, d) each.
    """

    maps: Maps | None = None
    read: Tensor | None = None
    query_key: tuple[Tensor, Tensor] | None = None


class Exchange:
    """Inputs and outputs of one call of a block apart from its tokens.

    Nothing is stored in the module, so that calls may run concurrently. Not a dataclass: FSDP
    passes copies of those to the block, and the outputs would be lost.

    Args:
        request: The tensors to expose.
        maps: Maps of the block before, (B, H, N, N) in all, if this block shares them.

    Attributes:
        exposed: The tensors exposed by the attention.
    """

    def __init__(self, request: Request | None = None, maps: Maps | None = None) -> None:
        self.request = request or Request()
        self.maps = maps
        self.exposed = Exposed()


class ElasticAttention(Attention):
    """timm's attention, with its own maps or those of the block before."""

    def forward(
        self, x: Tensor, *args: Any, exchange: Exchange | None = None, **kwargs: Any
    ) -> Tensor:
        """Map tokens (B, N, D) to (B, N, D); without an exchange as in timm."""
        if exchange is None:
            return super().forward(x, *args, **kwargs)
        if exchange.maps is not None:
            y = self._attend_by_shared_maps(x, exchange.maps)
            exchange.exposed = Exposed(maps=exchange.maps if exchange.request.maps else None)
        else:
            y, exchange.exposed = self._attend(x, exchange.request)
        y = self.norm(y)
        if self.gate is not None:
            y = y * self.gate(x).sigmoid()
        return self.proj_drop(self.proj(y))  # type: ignore[no-any-return]

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Project tokens (B, N, D) to queries and keys (normed) and values, each (B, H, N, d)."""
        qkv = self.qkv(x).unflatten(2, (3, self.num_heads, self.head_dim))
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        return self.q_norm(query), self.k_norm(key), value

    def _attend(self, x: Tensor, request: Request) -> tuple[Tensor, Exposed]:
        """Attend with own maps; fused unless maps or logits are requested."""
        query, key, value = self.project(x)
        maps = read = None
        if self.fused_attn and not request.maps and request.read_logits is None:
            dropout = self.attn_drop.p if self.training else 0.0
            y = _merge_heads(F.scaled_dot_product_attention(query, key, value, dropout_p=dropout))
        else:
            y, maps, read = self._attend_materialised(query, key, value, request)
        if request.read_rows is not None:
            read = request.read_rows(query, key, self.scale)
        return y, Exposed(maps, read, (query, key) if request.query_key else None)

    def _attend_materialised(
        self, query: Tensor, key: Tensor, value: Tensor, request: Request
    ) -> tuple[Tensor, Maps | None, Tensor | None]:
        """Attend with materialised maps; returns (B, N, A), the maps, and `read_logits`' result.

        The batch is split, so that only the maps of one part are alive unless they are requested.
        """
        ys, maps, read = [], [], []
        for q, k, v in _split_batch(query, key, value):
            logits = (q * self.scale) @ k.transpose(-2, -1)
            if request.read_logits is not None:
                read.append(request.read_logits(logits))
            a = logits.softmax(dim=-1).to(v.dtype)
            ys.append(_merge_heads(self.attn_drop(a) @ v))
            if request.maps:
                maps.append(a)
        return _concatenate(ys), tuple(maps) or None, _concatenate(read) if read else None

    def _attend_by_shared_maps(self, x: Tensor, maps: Maps) -> Tensor:
        value = self._project_values(x).unflatten(2, (self.num_heads, self.head_dim))
        value = value.transpose(1, 2)
        values = [value] if len(maps) == 1 else value.split([len(part) for part in maps])
        parts = zip(maps, values, strict=True)
        return _concatenate([_merge_heads(self.attn_drop(a) @ v) for a, v in parts])

    def _project_values(self, x: Tensor) -> Tensor:
        """Project to values (B, N, A) by the last A rows of `qkv`; a subnet's has no others."""
        qkv = self.qkv
        if type(qkv) is nn.Linear and not (qkv._forward_hooks or qkv._forward_pre_hooks):
            bias = None if qkv.bias is None else qkv.bias[-self.attn_dim :]
            return F.linear(x, qkv.weight[-self.attn_dim :], bias)
        # Adapters, quantised layers and layers with hooks must be called as a whole.
        return qkv(x)[..., -self.attn_dim :]  # type: ignore[no-any-return]


class ElasticBlock(Block):
    """timm's pre-norm block, which can take and expose attention maps."""

    def forward(
        self, x: Tensor, *args: Any, exchange: Exchange | None = None, **kwargs: Any
    ) -> Tensor:
        """Map tokens (B, N, D) to (B, N, D); without an exchange as in timm."""
        if exchange is None:
            return super().forward(x, *args, **kwargs)
        attn = cast(ElasticAttention, self.attn)
        x = x + self.drop_path1(self.ls1(attn(self.norm1(x), exchange=exchange)))
        if exchange.request.tokens is not None:
            with torch.no_grad():
                query, key, _ = attn.project(self.norm1(exchange.request.tokens))
            exchange.exposed = exchange.exposed._replace(query_key=(query, key))
        return x + self.drop_path2(self.ls2(self.mlp(self.norm2(x))))  # type: ignore[no-any-return]


def elastic_block(block: nn.Module) -> ElasticBlock:
    """Return the block as an `ElasticBlock` with the same parameters and submodules."""
    clone: Any = shallow_copy(block)
    clone.attn = shallow_copy(clone.attn)
    for module, kind in ((clone, ElasticBlock), (clone.attn, ElasticAttention)):
        if not isinstance(module, kind):  # such as FSDP2's subclass of it, which stays
            module.__class__ = kind
    return clone  # type: ignore[no-any-return]


def keep_values(attn: Any) -> None:
    """Remove the query and key projections of a shared block; an adapter's `qkv` is kept whole."""
    qkv, rows = attn.qkv, attn.attn_dim
    if type(qkv) is nn.Linear:
        values = nn.Linear(qkv.in_features, rows, bias=qkv.bias is not None, device="meta")
        for name, parameter in qkv.named_parameters():
            weight = parameter.detach()[-rows:].clone()
            setattr(values, name, nn.Parameter(weight, requires_grad=parameter.requires_grad))
        attn.qkv = values
    attn.q_norm = attn.k_norm = nn.Identity()


def shallow_copy(module: M) -> M:
    """Return a new module with the same parameters and submodules.

    Heads or hooks that are added to one of them later are not shared.
    """
    clone = copy.copy(module)
    for name, value in module.__dict__.items():
        if isinstance(value, dict):
            clone.__dict__[name] = value.copy()
    return clone


def _split_batch(*tensors: Tensor) -> Iterable[tuple[Tensor, ...]]:
    """Split a batch on a CPU, so that the maps of a part stay in its cache.

    Other devices need no split, and under tracing the batch size is unknown.
    """
    _, heads, n, _ = tensors[0].shape
    traced = torch.compiler.is_compiling() or torch.jit.is_tracing()  # type: ignore[no-untyped-call, attr-defined]
    if traced or tensors[0].device.type != "cpu":
        return [tensors]
    images = max(1, CACHED_BYTES // (heads * n * n * tensors[0].element_size()))
    return zip(*(tensor.split(images) for tensor in tensors), strict=True)


def _concatenate(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _merge_heads(y: Tensor) -> Tensor:
    """Concatenate heads (b, H, N, d) to tokens (b, N, A)."""
    return y.transpose(1, 2).flatten(2)
