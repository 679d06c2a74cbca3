"""Subnets: one arch with its weights alone, extracted from a supernet or built from a file."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from timm.models.vision_transformer import VisionTransformer

from space.arch import Arch
from space.arch_file import ArchFile, load_arch_file
from space.operators.walk import trace
from space.shape import BackboneShape
from space.utils.errors import naming
from space.utils.reader import Reader
from supernet.backbones.vit import backbone_shape, create_backbone
from supernet.models.elastic import ElasticViT
from supernet.models.supernet import Supernet, canonical, check_shape
from supernet.weights import load_weights


def extract(supernet: Supernet, arch: Arch, share: bool = False) -> ElasticViT:
    """Extract the subnet that computes `supernet(images, arch)`, with its own weights.

    Args:
        supernet: The supernet, which is not changed.
        arch: An arch of its space.
        share: Whether to share tensors with the supernet where they are used whole, for many
            read-only subnets at once.

    Raises:
        InputError: The arch is not in the supernet's space.
    """
    arch = canonical(supernet.space, arch)
    tensors = [*supernet.parameters(), *supernet.buffers()] if share else []
    whole = copy.deepcopy(supernet, {id(tensor): tensor for tensor in tensors})
    return _with_operators(subnet_of(whole, supernet.shape, arch), whole)


def narrow(supernet: Supernet, archs: Iterable[Arch]) -> ElasticViT:
    """Return the supernet with only the operators that `archs` use; tensors are shared.

    Raises:
        InputError: An arch is not in the supernet's space.
    """
    found = [canonical(supernet.space, arch) for arch in archs]
    return _with_operators(elastic_of(supernet, supernet.shape, found), supernet)


def create_subnet(
    arch: str | Path | ArchFile, weights: str | Path | None = None, **args: Any
) -> ElasticViT:
    """Build the subnet of an arch file.

    Args:
        arch: Path of the arch file, or the result of `load_arch_file`.
        weights: A safetensors file of the subnet; None for timm's initial weights.
        args: Arguments for the backbone that override the file's (`drop_path_rate=0.1`).

    Raises:
        InputError: The file is invalid, its backbone cannot be built or has another shape, or the
            weights do not fit.
    """
    file = arch if isinstance(arch, ArchFile) else load_arch_file(arch)
    whose = "the arch file" if isinstance(arch, ArchFile) else str(arch)
    subnet = _set_input(subnet_of(_backbone(file, whose, args), file.shape, file.arch), file)
    if weights is not None:
        load_weights(subnet, weights)
    return subnet


def create_elastic(file: ArchFile, whose: str, archs: Iterable[Arch]) -> ElasticViT:
    """Build an elastic model for several archs on the backbone of an arch file.

    Args:
        file: Arch file with backbone, shape and input; its arch is ignored.
        whose: Name of the file in errors.
        archs: Archs of that shape.

    Raises:
        InputError: As in `create_subnet`.
    """
    return _set_input(elastic_of(_backbone(file, whose, {}), file.shape, archs), file)


def elastic_of(
    backbone: VisionTransformer, shape: BackboneShape, archs: Iterable[Arch]
) -> ElasticViT:
    """Make an elastic model of `archs` that shares the modules of `backbone`."""
    traced = [trace(arch, shape) for arch in archs]
    pairs = [list(zip(states, blocks, strict=False)) for states, blocks in traced]
    model = ElasticViT(backbone, shape, zip(*pairs, strict=True))
    model.__dict__.pop("space", None)
    return model


def subnet_of(backbone: VisionTransformer, shape: BackboneShape, arch: Arch) -> ElasticViT:
    """Make a subnet of `arch` from `backbone`, which is cut to the weights that the arch uses."""
    subnet = elastic_of(backbone, shape, [arch])
    subnet.set_arch(shape, arch)
    for block, step in zip(subnet.blocks, subnet.steps(), strict=True):
        for action in step.actions:
            action.operator.cut(block, action.choice)
    return subnet


def _with_operators(model: ElasticViT, whole: ElasticViT) -> ElasticViT:
    """Replace the operators' modules of a model by those of `whole`."""
    for name in model.learned_modules():
        model.set_submodule(name, whole.get_submodule(name))
    return model


def _set_input(model: Any, file: ArchFile) -> ElasticViT:
    """Set the model's timm config to the input of the arch file."""
    model.pretrained_cfg = model.default_cfg = {**model.default_cfg, **timm_input(file)}
    return model  # type: ignore[no-any-return]


def _backbone(file: ArchFile, whose: str, args: Mapping[str, Any]) -> VisionTransformer:
    """Build the backbone of an arch file, with initial weights."""
    with naming(whose):
        given = Reader(file.backbone, ("backbone",)).mapping("model", args={})
        given["args"].entries()
    backbone = create_backbone(given["model"].value, {**given["args"].value, **args})
    check_shape(backbone_shape(backbone), file.shape, whose)
    return backbone


def timm_input(file: ArchFile) -> dict[str, Any]:
    """Return the `input` of an arch file under the names of timm's configs."""
    found = {"input_size" if key == "size" else key: value for key, value in file.input.items()}
    return {key: tuple(value) if isinstance(value, list) else value for key, value in found.items()}
