"""Subnets: one arch with its weights alone, cut out of a supernet or built from an arch file."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from timm.models.vision_transformer import VisionTransformer
from torch import nn

from space.arch import Arch
from space.cost import trace
from space.errors import InputError, shown
from space.files import ArchFile, load_arch_file
from space.shape import BackboneShape
from supernet.backbone import backbone_shape, create_backbone
from supernet.elastic import ElasticViT
from supernet.model import Supernet, canonical, check_shape
from supernet.weights import load_weights


def extract(supernet: Supernet, arch: Arch, share: bool = False) -> ElasticViT:
    """An ordinary module that computes what `supernet(images, arch)` does, with its own weights.

    Args:
        supernet: left as it is.
        arch: of its space.
        share: take the supernet's own tensors where they are used whole, in place of copies: for
            many subnets side by side, whose weights nobody changes.

    Raises:
        InputError: the arch is not in the supernet's space.
    """
    arch = canonical(supernet.space, arch)
    tensors = [*supernet.parameters(), *supernet.buffers()] if share else []
    whole: Any = copy.deepcopy(supernet, {id(tensor): tensor for tensor in tensors})
    subnet = subnet_of(whole, supernet.shape, arch)
    subnet.selectors.update({i: whole.selectors[i] for i in subnet.selectors})
    for i, pools in subnet.pools.items():
        assert isinstance(pools, nn.ModuleDict)
        pools.update({kind: whole.pools[i][kind] for kind in pools})
    return subnet


def create_subnet(
    arch: str | Path | ArchFile, weights: str | Path | None = None, **args: Any
) -> ElasticViT:
    """Build the subnet of an arch file.

    Args:
        arch: the file, or what `load_arch_file` read from it.
        weights: a safetensors file of the subnet's weights; without one they are timm's initial.
        args: more arguments for the backbone, over those of the file (`drop_path_rate=0.1`).

    Raises:
        InputError: the file is not right, its backbone cannot be built or has another shape, or
            the weights do not fit.
    """
    file = arch if isinstance(arch, ArchFile) else load_arch_file(arch)
    whose = "the arch file" if isinstance(arch, ArchFile) else str(arch)
    model, its_args = _backbone(file, whose)
    backbone = create_backbone(model, {**its_args, **args})
    check_shape(backbone_shape(backbone), file.shape, whose)
    subnet = subnet_of(backbone, file.shape, file.arch)
    config: Any = subnet.default_cfg
    config = {**config, **_timm_input(file)}
    subnet.pretrained_cfg = subnet.default_cfg = config
    if weights is not None:
        load_weights(subnet, weights)
    return subnet


def subnet_of(backbone: VisionTransformer, shape: BackboneShape, arch: Arch) -> ElasticViT:
    """Run `arch` on `backbone`, which is taken over and cut to the weights that the arch uses."""
    choices = [[choice] for choice in zip(*trace(arch, shape), strict=False)]
    subnet = ElasticViT(backbone, shape, choices, arch)
    subnet.__dict__.pop("space", None)
    for block, choice in zip(subnet.blocks, arch.blocks, strict=True):
        if choice.shared:
            _keep_values(block.attn)
    return subnet


def _keep_values(attn: Any) -> None:
    """Cut a block that shares maps down to its value rows; queries and keys are not needed."""
    whole, rows = attn.qkv, attn.attn_dim
    values = nn.Linear(whole.in_features, rows, bias=whole.bias is not None, device="meta")
    for name, parameter in whole.named_parameters():
        kept = parameter.detach()[-rows:].clone()
        setattr(values, name, nn.Parameter(kept, requires_grad=parameter.requires_grad))
    attn.qkv = values
    attn.q_norm = attn.k_norm = nn.Identity()


def _backbone(file: ArchFile, whose: str) -> tuple[Any, dict[str, Any]]:
    """Model and arguments for `timm.create_model`."""
    described = {"args": {}, **file.backbone}
    if "model" not in described:
        raise InputError(f"{whose}: backbone.model: missing; it names the timm model to build")
    for key in described.keys() - {"model", "args"}:
        raise InputError(f"{whose}: backbone.{key}: unknown key; known are model, args")
    if not isinstance(described["args"], dict):
        raise InputError(
            f"{whose}: backbone.args: must be a mapping, got {shown(described['args'])}"
        )
    return described["model"], described["args"]


def _timm_input(file: ArchFile) -> dict[str, Any]:
    """The `input` of an arch file under the names of timm's configurations."""
    found = {"input_size" if key == "size" else key: value for key, value in file.input.items()}
    return {key: tuple(value) if isinstance(value, list) else value for key, value in found.items()}
