"""Arch files: an arch with all that is needed to run it, as YAML (schema tokennas/arch/1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from space.arch import Arch, BlockArch
from space.cost import macs, params, token_counts
from space.operators.registry import operators
from space.operators.walk import PLAIN
from space.shape import BackboneShape
from space.utils.errors import shown
from space.utils.reader import Reader, open_document, open_yaml
from space.utils.yaml_file import Document, write_yaml

SCHEMA = "tokennas/arch/1"
METADATA = ("backbone", "input", "classes", "task", "metrics", "origin")
CROP_MODES = ("center", "squash", "border")
INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "box", "hamming", "lanczos")


@dataclass(frozen=True)
class ArchFile:
    """The content of an arch file.

    Args:
        arch: The arch.
        shape: Shape of the backbone, by which the cost is checked without torch.
        backbone: Arguments of `timm.create_model`: `model` and `args`.
        input: Size, mean, std, crop_pct, crop_mode and interpolation of the images.
        classes: Class names, if known.
        task: Name and options of a task whose head is not timm's; empty for timm's head.
        metrics: Measured metrics by name.
        origin: Run, trial, seed, supernet and version.
    """

    arch: Arch
    shape: BackboneShape
    backbone: dict[str, Any] = field(default_factory=dict)
    input: dict[str, Any] = field(default_factory=dict)
    classes: list[str] = field(default_factory=list)
    task: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    origin: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the content of the file as plain values.

        Raises:
            InputError: The arch does not fit the shape or breaks a rule, or `input` is invalid.
        """
        _read_input(Reader(self.input, ("input",)))
        metadata = {name: getattr(self, name) for name in METADATA}
        # The required cost comes last, so that a truncated file is noticed on reading.
        return {
            "schema": SCHEMA,
            **{name: value for name, value in metadata.items() if value},
            "shape": self.shape.to_dict(),
            "blocks": [block_to_dict(block) for block in self.arch.blocks],
            "cost": cost_to_dict(self.arch, self.shape),
        }


def load_arch(path: str | Path) -> Arch:
    """Read the arch alone from an arch file; `load_arch_file` reads all of it.

    Raises:
        InputError: The file is invalid; names file, line, place and value.
    """
    return load_arch_file(path).arch


def load_arch_file(path: str | Path) -> ArchFile:
    """Read an arch file; its blocks are checked by the rules, its cost by blocks and shape.

    Raises:
        InputError: The file is invalid; names file, line, place and value.
    """
    return _read_file(open_yaml(path, SCHEMA))


def parse_arch(data: Mapping[str, Any], source: str) -> ArchFile:
    """Parse the content of an arch file stored elsewhere, such as in a `config.json`.

    Args:
        data: The content.
        source: Name of the place where it is stored, for errors.

    Raises:
        InputError: A value is invalid; names source, place and value.
    """
    return _read_file(open_document(Document(Path(source), data, {}), SCHEMA))


def _read_file(reader: Reader) -> ArchFile:
    required = ("schema", "shape", "blocks", "cost")
    optional: dict[str, Any] = {key: {} for key in METADATA} | {"classes": []}
    entries = reader.mapping(*required, **optional)
    shape = BackboneShape.read(entries["shape"])
    arch = read_blocks(entries["blocks"])
    cost = entries["blocks"].make(cost_to_dict, arch, shape)
    for key, each in entries["cost"].mapping(*cost).items():
        if each.value != cost[key]:
            raise each.error(
                f"does not fit blocks and shape, which give {shown(cost[key])}, "
                f"got {shown(each.value)}"
            )
    return ArchFile(
        arch,
        shape,
        backbone=entries["backbone"].plain_mapping(),
        input=_read_input(entries["input"]),
        classes=[each.text() for each in entries["classes"].items()],
        task=entries["task"].plain_mapping(),
        metrics=entries["metrics"].plain_mapping(),
        origin=entries["origin"].plain_mapping(),
    )


def save_arch(
    arch: Arch,
    path: str | Path,
    *,
    shape: BackboneShape,
    backbone: Mapping[str, Any] | None = None,
    input: Mapping[str, Any] | None = None,
    classes: list[str] | None = None,
    task: Mapping[str, Any] | None = None,
    metrics: Mapping[str, Any] | None = None,
    origin: Mapping[str, Any] | None = None,
) -> None:
    """Write an arch file; see `ArchFile` for the arguments.

    Raises:
        InputError: The arch does not fit the shape or breaks a rule, `input` is invalid, or a
            value is not a plain one; nothing is written.
    """
    values = (backbone, input, classes, task, metrics, origin)
    metadata: dict[str, Any] = {k: v for k, v in zip(METADATA, values, strict=True) if v}
    write_yaml(path, ArchFile(arch, shape, **metadata).to_dict())


def block_to_dict(block: BlockArch) -> dict[str, Any]:
    """Return the choices of a block, without the plain ones."""
    values: dict[str, Any] = {}
    for operator in operators():
        values |= operator.to_dict(operator.choice(block))
    return values


def cost_to_dict(arch: Arch, shape: BackboneShape) -> dict[str, Any]:
    """Compute the `cost` section of an arch file."""
    return {
        "macs": macs(arch, shape),
        "params": params(arch, shape),
        "patch_tokens": token_counts(arch, shape),
    }


def read_blocks(reader: Reader) -> Arch:
    """Read an arch from a list with a mapping for each block."""
    return reader.make(Arch, tuple(map(_read_block, reader.items(least=1))))


def _read_block(reader: Reader) -> BlockArch:
    entries = reader.some_of(*(key for operator in operators() for key in operator.keys))
    block = PLAIN
    for operator in operators():
        if not entries.keys().isdisjoint(operator.keys):
            block = reader.make(operator.put, block, operator.from_dict(entries))
    return block


def _read_input(reader: Reader) -> dict[str, Any]:
    """Read the `input` section: size (channels, height, width), and keys of timm's data config."""
    entries = reader.some_of("size", "mean", "std", "crop_pct", "crop_mode", "interpolation")
    for key, each in entries.items():
        if key == "size":
            sides = [side.integer(least=1) for side in each.items()]
            if len(sides) != 3:
                raise each.error(f"must be channels, height and width, got {shown(each.value)}")
        elif key in ("mean", "std"):
            for channel in each.items(least=1):
                channel.number(least=None)
        elif key == "crop_pct":
            each.positive()
        else:
            each.choice(CROP_MODES if key == "crop_mode" else INTERPOLATIONS)
    return {key: each.value for key, each in entries.items()}
