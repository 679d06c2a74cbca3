"""The supported backbones, and the measurement of their shape."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
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
from supernet.backbones.dense_head import DenseHead, Features

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
            raise InputError(f"backbone args: {key!r} is not allowed; leave it out")
    try:
        backbone: Any = timm.create_model(model, **args)
    except Exception as error:  # timm raises many types for wrong arguments
        reason = one_line(error, typed=True)
        raise InputError(f"timm cannot build {model} with {shown(dict(args))}: {reason}") from None
    check_backbone(backbone)
    return backbone  # type: ignore[no-any-return]


def check_backbone(backbone: nn.Module) -> None:
    """Refuse a backbone that the operators do not support.

    Raises:
        InputError: The backbone is not supported; names the class or setting.
    """
    reason = _unsupported_reason(backbone)
    if reason is not None:
        raise InputError(f"backbone {type(backbone).__name__} is not supported: {reason}")


def backbone_shape(backbone: nn.Module) -> BackboneShape:
    """Measure the shape of a timm VisionTransformer, on the meta device.

    Raises:
        InputError: The backbone is not supported.
    """
    check_backbone(backbone)
    assert isinstance(backbone, VisionTransformer)
    blocks = [_measure_block(block) for block in backbone.blocks]
    if any(block != blocks[0] for block in blocks):
        raise InputError("backbone is not supported: its blocks are not all of one size")
    embed = backbone.patch_embed
    height, width = embed.grid_size
    images = torch.zeros(1, backbone.in_chans, *embed.img_size, device="meta")
    head, head_per_token = measure_head(backbone)
    return BackboneShape(
        depth=len(backbone.blocks),
        width=backbone.embed_dim,
        grid=(int(height), int(width)),
        prefix=backbone.num_prefix_tokens,
        **blocks[0],
        stem=Part(count_macs(partial(_to_meta(embed), images)), _stem_params(backbone)),
        head=head,
        head_per_token=head_per_token,
    )


def measure_head(backbone: VisionTransformer) -> tuple[Part, int]:
    """Measure the part after the blocks: `head` and `head_per_token` of a shape.

    Raises:
        InputError: The head's MACs do not grow linearly with the tokens.
    """
    params = count_params(backbone) - _stem_params(backbone) - count_params(backbone.blocks)
    if isinstance(backbone.head, DenseHead):
        return Part(_count_dense_macs(backbone, backbone.head), params), 0
    blockless = shallow_copy(backbone)
    blockless.blocks = nn.Sequential()
    prefix, width = backbone.num_prefix_tokens, backbone.embed_dim
    name = f"head (global_pool={backbone.global_pool!r})"
    macs, per_token = _fit_linear_macs(_to_meta(blockless).forward_head, prefix, width, name)
    return Part(macs, params), per_token


def count_params(module: nn.Module, recurse: bool = True) -> int:
    """Count the parameters of a module, with those of its submodules if `recurse` is set."""
    return sum(parameter.numel() for parameter in module.parameters(recurse))


def count_macs(run: Callable[[], Any]) -> int:
    """Count the MACs of a call of `run` by torch's FlopCounterMode."""
    # Gradients are enabled, since attention pooling crashes the counter under no_grad.
    with FlopCounterMode(display=False) as counter, torch.enable_grad():
        run()
    return int(counter.get_total_flops()) // 2


def _unsupported_reason(backbone: Any) -> str | None:
    """Return why a backbone is not supported, or None if it is."""
    # Exact types, here and below: a subclass may compute something else.
    if type(backbone) not in (VisionTransformer, VisionTransformerDistilled):
        if getattr(backbone, "rope", None) is not None:
            return "rotary embeddings depend on token positions, which pooling changes"
        return "only timm's VisionTransformer and VisionTransformerDistilled are"
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


def _measure_block(block: nn.Module) -> dict[str, Any]:
    """Measure a block: heads, attention width, MACs per token and parameters of its parts."""
    attn: Any = block.attn
    qkv = attn.qkv
    # `qkv` makes queries, keys and values of `attn_dim` channels each.
    rows = 2 * attn.attn_dim
    params = rows * (qkv.in_features + (qkv.bias is not None))
    params += count_params(attn.q_norm) + count_params(attn.k_norm)
    query_key = Part(rows * qkv.in_features, params)
    gate = 0 if attn.gate is None else attn.gate.in_features * attn.gate.out_features
    projections = attn.attn_dim * qkv.in_features + attn.proj.in_features * attn.proj.out_features
    mlp: Any = block.mlp
    name = type(mlp).__name__
    fixed, per_token = _fit_linear_macs(_to_meta(mlp), 0, qkv.in_features, name)
    if fixed:
        raise InputError(f"backbone is not supported: its {name} has MACs beyond those per token")
    return {
        "heads": attn.num_heads,
        "attention_width": attn.attn_dim,
        "query_key": query_key,
        "value_output": Part(projections + gate, count_params(attn) - query_key.params),
        "mlp": Part(per_token, count_params(mlp)),
        "rest": Part(0, count_params(block) - count_params(attn) - count_params(mlp)),
    }


def _fit_linear_macs(
    run: Callable[[Tensor], Any], prefix: int, width: int, name: str
) -> tuple[int, int]:
    """Measure the MACs without patch tokens, and the MACs that each patch token adds.

    Raises:
        InputError: The MACs do not grow linearly with the tokens.
    """
    sizes = (4, 8, 12)
    tokens = [torch.zeros(1, prefix + n, width, device="meta") for n in sizes]
    counts = [count_macs(partial(run, each)) for each in tokens]
    per_token = (counts[1] - counts[0]) // (sizes[1] - sizes[0])
    fixed = counts[0] - sizes[0] * per_token
    if counts != [fixed + n * per_token for n in sizes]:
        raise InputError(
            f"backbone is not supported: the MACs of its {name} do not grow linearly with the "
            "tokens"
        )
    return fixed, per_token


def _count_dense_macs(backbone: VisionTransformer, head: DenseHead) -> int:
    """Count the MACs of a dense head: those at the full grid, to which it resizes all features."""
    patches = torch.zeros(1, backbone.embed_dim, *head.grid, device="meta")
    prefix = torch.zeros(1, backbone.num_prefix_tokens, backbone.embed_dim, device="meta")
    features = [Features(patches, prefix)] * len(head.blocks)
    return count_macs(partial(_to_meta(head), features))


def _stem_params(backbone: VisionTransformer) -> int:
    """Count the parameters before the blocks, with prefix tokens and positions."""
    parts = backbone.patch_embed, backbone.norm_pre
    return sum(map(count_params, parts)) + count_params(backbone, recurse=False)


def _to_meta(module: Any) -> Any:
    return copy.deepcopy(module).to(device="meta", dtype=torch.float32).eval()
