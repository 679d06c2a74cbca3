"""The supported backbones, and the measurement of their shape."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import timm
import torch
from timm.layers.attention import Attention
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from space.shape import BackboneShape, Part
from space.utils.errors import InputError, near, one_line, shown
from supernet.backbones.blocks import ElasticAttention, ElasticBlock, shallow_copy

# Arguments that load weights, name files or change what `create_model` returns.
REFUSED_ARGS = (
    "arch",
    "pretrained",
    "checkpoint_path",
    "pretrained_cfg",
    "pretrained_cfg_overlay",
    "cache_dir",
    "features_only",
    "scriptable",
)


def create_backbone(model: str, args: Mapping[str, Any]) -> VisionTransformer:
    """Build a timm model with initial weights, and check that it is supported.

    Args:
        model: A name of `timm.list_models()`.
        args: Arguments for `timm.create_model`.

    Raises:
        InputError: The model is unknown or not supported, or arguments are wrong or refused.
    """
    if not isinstance(model, str) or not timm.is_model(model):
        known = timm.list_models(module="vision_transformer") + timm.list_models(module="deit")
        raise InputError(f"timm has no model {model!r}{near(str(model), known)}")
    for key in args:
        if key in REFUSED_ARGS:
            raise InputError(f"backbone args: {key!r} is not allowed here")
    try:
        backbone: Any = timm.create_model(model, **args)
    except Exception as error:  # any error of timm is about these arguments
        reason = one_line(error, typed=True)
        raise InputError(f"timm cannot build {model} with {shown(dict(args))}: {reason}") from None
    check_backbone(backbone)
    return backbone  # type: ignore[no-any-return]


def check_backbone(backbone: nn.Module) -> None:
    """Refuse a backbone that the operators do not support.

    Raises:
        InputError: The backbone is not supported; names the class or setting.
    """
    reason = _unserved(backbone)
    if reason is not None:
        raise InputError(f"backbone {type(backbone).__name__} cannot be served: {reason}")


def backbone_shape(backbone: nn.Module) -> BackboneShape:
    """Measure the integers of a timm VisionTransformer that costs depend on.

    Raises:
        InputError: The backbone is not supported.
    """
    check_backbone(backbone)
    assert isinstance(backbone, VisionTransformer)
    blocks = [_block_parts(block) for block in backbone.blocks]
    if any(block != blocks[0] for block in blocks):
        raise InputError("backbone cannot be served: its blocks are not all of one size")
    prefix, width = backbone.num_prefix_tokens, backbone.embed_dim
    grid = backbone.patch_embed.grid_size
    stem_params = [backbone.patch_embed, backbone.norm_pre, *_tokens(backbone)]
    stem = Part(_stem_macs(backbone), numel(stem_params))
    head, head_per_token = measure_head(backbone)
    return BackboneShape(
        depth=len(backbone.blocks),
        width=width,
        grid=(int(grid[0]), int(grid[1])),
        prefix=prefix,
        **blocks[0],
        stem=stem,
        head=head,
        head_per_token=head_per_token,
    )


def measure_head(backbone: VisionTransformer) -> tuple[Part, int]:
    """Measure all that follows the blocks: `head` and `head_per_token` of a shape.

    Raises:
        InputError: The head's MACs do not grow linearly with the tokens.
    """
    before = [backbone.patch_embed, backbone.norm_pre, *_tokens(backbone), backbone.blocks]
    head_macs, per_token = _head_macs(backbone, backbone.num_prefix_tokens, backbone.embed_dim)
    return Part(head_macs, numel([backbone]) - numel(before)), per_token


def numel(parts: Iterable[nn.Module | nn.Parameter]) -> int:
    """Count the parameters of modules and single parameters together."""
    return sum(
        part.numel()
        if isinstance(part, nn.Parameter)
        else sum(p.numel() for p in part.parameters())
        for part in parts
    )


def count_macs(run: Callable[[], Any]) -> int:
    """Count the MACs of `run` by torch's FlopCounterMode."""
    # With gradients on: attention pooling crashes the counter under no_grad.
    with FlopCounterMode(display=False) as counter, torch.enable_grad():
        run()
    return int(counter.get_total_flops()) // 2


def _unserved(backbone: nn.Module) -> str | None:
    if type(backbone) not in (VisionTransformer, VisionTransformerDistilled):
        if getattr(backbone, "rope", None) is not None:
            return "rotary positions belong to a token's place, which pooling changes"
        return "only timm's VisionTransformer and VisionTransformerDistilled are"
    assert isinstance(backbone, VisionTransformer)
    if backbone.dynamic_img_size:
        return "dynamic_img_size gives no fixed token grid; build it with dynamic_img_size=False"
    if not isinstance(backbone.patch_drop, nn.Identity):
        return "patch_drop_rate drops tokens at random; build it with patch_drop_rate=0"
    if not len(backbone.blocks):
        return "it has no blocks"
    for i, block in enumerate(backbone.blocks):
        if type(block) not in (Block, ElasticBlock):
            return f"blocks[{i}] is a {type(block).__name__}, not timm's pre-norm Block"
        if type(block.attn) not in (Attention, ElasticAttention):
            return f"blocks[{i}].attn is a {type(block.attn).__name__}, not timm's Attention"
    if getattr(backbone.patch_embed, "grid_size", None) is None:
        return "its stem gives no fixed token grid"
    return None


def _block_parts(block: nn.Module) -> dict[str, Any]:
    """Measure one block: its heads, and MACs per token and parameters of its parts."""
    attn: Any = block.attn
    qkv = attn.qkv
    rows = 2 * attn.attn_dim
    bias = 0 if qkv.bias is None else rows
    query_key = Part(
        rows * qkv.in_features, rows * qkv.in_features + bias + numel([attn.q_norm, attn.k_norm])
    )
    gate = 0 if attn.gate is None else attn.gate.in_features * attn.gate.out_features
    value = attn.attn_dim * qkv.in_features + attn.proj.in_features * attn.proj.out_features + gate
    value_output = Part(value, numel([attn]) - query_key.params)
    mlp = Part(_macs_per_token(block.mlp, qkv.in_features), numel([block.mlp]))  # type: ignore[arg-type, list-item]
    rest = Part(0, numel([block]) - numel([attn]) - mlp.params)
    return {
        "heads": attn.num_heads,
        "attention_width": attn.attn_dim,
        "query_key": query_key,
        "value_output": value_output,
        "mlp": mlp,
        "rest": rest,
    }


def _macs_per_token(module: nn.Module, width: int) -> int:
    meta = _on_meta(module)
    one, three = (count_macs(partial(meta, _meta(1, n, width))) for n in (1, 3))
    if three != 3 * one:
        raise InputError(
            f"backbone cannot be served: the MACs of its {type(module).__name__} are not "
            "proportional to the tokens"
        )
    return one


def _stem_macs(backbone: VisionTransformer) -> int:
    stem = _on_meta(backbone.patch_embed)
    size = backbone.patch_embed.img_size
    return count_macs(lambda: stem(_meta(1, backbone.in_chans, *size)))


def _head_macs(backbone: VisionTransformer, prefix: int, width: int) -> tuple[int, int]:
    """Measure the MACs of the head without patch tokens, and those that each of them adds."""
    head = shallow_copy(backbone)
    head.blocks = nn.Sequential()
    head = _on_meta(head)
    counts = [
        count_macs(partial(head.forward_head, _meta(1, prefix + n, width))) for n in (4, 8, 12)
    ]
    per_token = (counts[1] - counts[0]) // 4
    if counts[2] - counts[1] != 4 * per_token or counts[1] - counts[0] != 4 * per_token:
        raise InputError(
            f"backbone cannot be served: the MACs of its head (global_pool="
            f"{backbone.global_pool!r}) do not grow linearly with the tokens"
        )
    return counts[0] - 4 * per_token, per_token


def _tokens(backbone: VisionTransformer) -> list[nn.Parameter]:
    """Return the parameters outside modules: prefix tokens and positions."""
    return [parameter for _, parameter in backbone.named_parameters(recurse=False)]


def _meta(*size: int) -> Tensor:
    return torch.zeros(size, device="meta")


def _on_meta(module: Any) -> Any:
    return copy.deepcopy(module).to(device="meta", dtype=torch.float32).eval()
