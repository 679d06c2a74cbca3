"""Subnets: one arch with its weights alone, cut out of a supernet or built from an arch file."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from timm.models.vision_transformer import VisionTransformer
from torch import nn

from space.arch import Arch
from space.arch_file import ArchFile, load_arch_file
from space.operators.walk import trace
from space.shape import BackboneShape
from space.utils.errors import InputError, shown
from supernet.backbones.vit import backbone_shape, create_backbone
from supernet.models.elastic import ElasticViT
from supernet.models.supernet import Supernet, canonical, check_shape
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
    whole = copy.deepcopy(supernet, {id(tensor): tensor for tensor in tensors})
    return _with_operators(subnet_of(whole, supernet.shape, arch), whole)


def narrow(supernet: Supernet, archs: Iterable[Arch]) -> ElasticViT:
    """The supernet with the operators that some of its archs use; nothing is copied.

    Raises:
        InputError: an arch is not in the supernet's space.
    """
    found = [canonical(supernet.space, arch) for arch in archs]
    return _with_operators(elastic_of(supernet, supernet.shape, found), supernet)


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
    subnet = _set_input(subnet_of(_backbone(file, whose, args), file.shape, file.arch), file)
    if weights is not None:
        load_weights(subnet, weights)
    return subnet


def create_elastic(file: ArchFile, whose: str, archs: Iterable[Arch]) -> ElasticViT:
    """Build what runs any of some archs of the backbone that an arch file names.

    Args:
        file: says backbone, shape and input; its own arch counts for nothing.
        whose: how errors call it.
        archs: of that shape.

    Raises:
        InputError: see `create_subnet`.
    """
    return _set_input(elastic_of(_backbone(file, whose, {}), file.shape, archs), file)


def elastic_of(
    backbone: VisionTransformer, shape: BackboneShape, archs: Iterable[Arch]
) -> ElasticViT:
    """Run any of `archs` on `backbone`, which is taken over, with the operators that they use."""
    traced = [trace(arch, shape) for arch in archs]
    pairs = [list(zip(states, blocks, strict=False)) for states, blocks in traced]
    model = ElasticViT(backbone, shape, zip(*pairs, strict=True))
    model.__dict__.pop("space", None)
    return model


def subnet_of(backbone: VisionTransformer, shape: BackboneShape, arch: Arch) -> ElasticViT:
    """Run `arch` on `backbone`, which is taken over and cut to the weights that the arch uses."""
    subnet = elastic_of(backbone, shape, [arch])
    subnet.set_arch(shape, arch)
    for block, step in zip(subnet.blocks, subnet.steps(), strict=True):
        for action in step.actions:
            action.operator.cut(block, action.choice)
    return subnet


def _with_operators(model: ElasticViT, whole: ElasticViT) -> ElasticViT:
    """The model with the operators' weights of `whole`, where it has some."""
    for name, modules in model.operator_modules().items():
        _take_over(modules, whole.operator_modules()[name])
    return model


def _take_over(modules: nn.ModuleDict, others: Any) -> None:
    for key, module in modules.items():
        if isinstance(module, nn.ModuleDict):
            _take_over(module, others[key])
        else:
            modules[key] = others[key]


def _set_input(model: ElasticViT, file: ArchFile) -> ElasticViT:
    """The model, which then says to timm what the file's images are."""
    told: Any = model
    told.pretrained_cfg = told.default_cfg = {**told.default_cfg, **timm_input(file)}
    return model


def _backbone(file: ArchFile, whose: str, args: Mapping[str, Any]) -> VisionTransformer:
    """The backbone that an arch file names, by timm's initial weights."""
    described = {"args": {}, **file.backbone}
    if "model" not in described:
        raise InputError(f"{whose}: backbone.model: missing; it names the timm model to build")
    for key in described.keys() - {"model", "args"}:
        raise InputError(f"{whose}: backbone.{key}: unknown key; known are model, args")
    if not isinstance(described["args"], dict):
        raise InputError(
            f"{whose}: backbone.args: must be a mapping, got {shown(described['args'])}"
        )
    backbone = create_backbone(described["model"], {**described["args"], **args})
    check_shape(backbone_shape(backbone), file.shape, whose)
    return backbone


def timm_input(file: ArchFile) -> dict[str, Any]:
    """The `input` of an arch file under the names of timm's configurations."""
    found = {"input_size" if key == "size" else key: value for key, value in file.input.items()}
    return {key: tuple(value) if isinstance(value, list) else value for key, value in found.items()}
