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
        share: Whether to share the supernet's tensors where the subnet uses all of them; for many
            read-only subnets at once.

    Raises:
        InputError: The arch is not in the supernet's space.
    """
    arch = canonical(supernet.space, arch)
    tensors = [*supernet.parameters(), *supernet.buffers()] if share else []
    copied = copy.deepcopy(supernet, {id(tensor): tensor for tensor in tensors})
    return _replace_operators(cut_subnet(copied, supernet.shape, arch), copied)


def narrow(supernet: Supernet, archs: Iterable[Arch]) -> ElasticViT:
    """Return a copy of the supernet with only the operators that `archs` use; tensors are shared.

    Raises:
        InputError: An arch is not in the supernet's space.
    """
    archs = [canonical(supernet.space, arch) for arch in archs]
    return _replace_operators(build_elastic(supernet, supernet.shape, archs), supernet)


def create_subnet(
    arch: str | Path | ArchFile, weights: str | Path | None = None, **args: Any
) -> ElasticViT:
    """Build the subnet of an arch file.

    Args:
        arch: Path of the arch file, or the result of `load_arch_file`.
        weights: A safetensors file of the subnet; None for timm's initial weights.
        args: Arguments for the backbone that override the file's, such as `drop_path_rate=0.1`.

    Raises:
        InputError: The file is invalid, its backbone cannot be built or has another shape, or the
            weights do not fit.
    """
    file = arch if isinstance(arch, ArchFile) else load_arch_file(arch)
    source = "the arch file" if isinstance(arch, ArchFile) else str(arch)
    backbone = _build_backbone(file, source, args)
    subnet = _set_input(cut_subnet(backbone, file.shape, file.arch), file)
    if weights is not None:
        load_weights(subnet, weights)
    return subnet


def create_elastic(file: ArchFile, source: str, archs: Iterable[Arch]) -> ElasticViT:
    """Build an elastic model for several archs on the backbone of an arch file.

    Args:
        file: Arch file with backbone, shape and input; its arch is ignored.
        source: Name of the file in errors.
        archs: Archs of that shape.

    Raises:
        InputError: The backbone cannot be built or has another shape.
    """
    return _set_input(build_elastic(_build_backbone(file, source, {}), file.shape, archs), file)


def build_elastic(
    backbone: VisionTransformer, shape: BackboneShape, archs: Iterable[Arch]
) -> ElasticViT:
    """Make an elastic model of `archs` that shares the modules of `backbone`."""
    traces = [trace(arch, shape) for arch in archs]
    pairs = [list(zip(states, blocks, strict=False)) for states, blocks in traces]
    model = ElasticViT(backbone, shape, zip(*pairs, strict=True))
    model.__dict__.pop("space", None)
    return model


def cut_subnet(backbone: VisionTransformer, shape: BackboneShape, arch: Arch) -> ElasticViT:
    """Make a subnet of `arch` from `backbone`, which is cut to the weights that the arch uses."""
    subnet = build_elastic(backbone, shape, [arch])
    subnet.set_arch(shape, arch)
    for block, step in zip(subnet.blocks, subnet.steps(), strict=True):
        for action in step.actions:
            action.operator.prune(block, action.choice)
    return subnet


def _replace_operators(model: ElasticViT, source: ElasticViT) -> ElasticViT:
    """Replace the operators' modules of a model by those of `source`."""
    for name in model.learned_modules():
        model.set_submodule(name, source.get_submodule(name))
    return model


def _set_input(model: Any, file: ArchFile) -> ElasticViT:
    """Set the model's timm config to the input of the arch file."""
    model.pretrained_cfg = model.default_cfg = {**model.default_cfg, **timm_input(file)}
    return model  # type: ignore[no-any-return]


def _build_backbone(file: ArchFile, source: str, args: Mapping[str, Any]) -> VisionTransformer:
    """Build the backbone of an arch file, with initial weights."""
    with naming(source):
        entries = Reader(file.backbone, ("backbone",)).mapping("model", args={})
        entries["args"].entries()
    backbone = create_backbone(entries["model"].value, {**entries["args"].value, **args})
    check_shape(backbone_shape(backbone), file.shape, source)
    return backbone


def timm_input(file: ArchFile) -> dict[str, Any]:
    """Return the `input` section of an arch file with the keys of timm's configs."""
    values = {"input_size" if key == "size" else key: value for key, value in file.input.items()}
    return {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
