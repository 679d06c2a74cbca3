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
from supernet.tasks.base import read_task
from supernet.weights import load_weights


def extract(supernet: Supernet, arch: Arch, share: bool = False) -> ElasticViT:
    """Extract the subnet that computes `supernet(images, arch)`, with its own weights.

    Args:
        supernet: The supernet, which is not changed.
        arch: An arch of its space.
        share: Whether to share the supernet's tensors where the subnet uses all of them; for many
            read-only subnets at once.

    Raises:
        InputError: The arch is not in the supernet's space, or leaves no token grid for its head.
    """
    arch = canonical(supernet.space, arch)
    tensors = [*supernet.parameters(), *supernet.buffers()] if share else []
    copied = copy.deepcopy(supernet, {id(tensor): tensor for tensor in tensors})
    subnet = cut_subnet(copied, supernet.shape, arch)
    for name in subnet.learned_modules():
        subnet.set_submodule(name, copied.get_submodule(name))
    return subnet


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
    elastic = create_elastic(file, source, [file.arch], args)
    with naming(source):
        subnet = _cut(elastic, file.arch)
    if weights is not None:
        load_weights(subnet, weights)
    return subnet


def create_elastic(
    file: ArchFile, source: str, archs: Iterable[Arch], args: Mapping[str, Any] | None = None
) -> ElasticViT:
    """Build an elastic model for several archs on the backbone of an arch file.

    Args:
        file: Arch file with backbone, shape and input; its arch is ignored.
        source: Name of the file in errors.
        archs: Archs of that shape.
        args: Arguments for the backbone that override the file's.

    Raises:
        InputError: The backbone cannot be built or has another shape.
    """
    with naming(source):
        entries = Reader(file.backbone, ("backbone",)).mapping("model", args={})
        entries["args"].entries()
    backbone = create_backbone(entries["model"].value, {**entries["args"].value, **(args or {})})
    if file.task:
        with naming(source):
            read_task(file.task, file.classes).reset_head(backbone, seed=0)
    check_shape(backbone_shape(backbone), file.shape, source)
    model: Any = build_elastic(backbone, file.shape, archs)
    model.pretrained_cfg = model.default_cfg = {**model.default_cfg, **timm_input(file)}
    return model  # type: ignore[no-any-return]


def build_elastic(
    backbone: VisionTransformer, shape: BackboneShape, archs: Iterable[Arch]
) -> ElasticViT:
    """Make an elastic model of `archs` that shares the modules of `backbone`."""
    pairs = [zip(*trace(arch, shape), strict=False) for arch in archs]
    model = ElasticViT(backbone, shape, zip(*pairs, strict=True))
    model.__dict__.pop("space", None)
    return model


def cut_subnet(backbone: VisionTransformer, shape: BackboneShape, arch: Arch) -> ElasticViT:
    """Make a subnet of `arch` from `backbone`, which is cut to the weights that the arch uses."""
    return _cut(build_elastic(backbone, shape, [arch]), arch)


def _cut(subnet: ElasticViT, arch: Arch) -> ElasticViT:
    """Make an elastic model of `arch` alone a subnet, and remove the weights that it cannot use."""
    subnet.set_arch(subnet.shape, arch)
    for block, step in zip(subnet.blocks, subnet.steps(), strict=True):
        for action in step.actions:
            action.operator.prune(block, action.choice)
    return subnet


def timm_input(file: ArchFile) -> dict[str, Any]:
    """Return the `input` section of an arch file with the keys of timm's configs."""
    values = {"input_size" if key == "size" else key: value for key, value in file.input.items()}
    return {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
