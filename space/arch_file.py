"""Arch files: all that is needed to run an arch, as YAML (schema tokennas/arch/1)."""

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
from space.utils.errors import InputError, near, shown
from space.utils.reader import Reader, of_schema, open_yaml
from space.utils.values import is_integer, is_number
from space.utils.yaml_file import Document, write_yaml

SCHEMA = "tokennas/arch/1"
REQUIRED = ("schema", "shape", "blocks", "cost")
INPUT_CHOICES = {
    "crop_mode": ("center", "squash", "border"),
    "interpolation": ("nearest", "bilinear", "bicubic", "box", "hamming", "lanczos"),
}
INPUT_KEYS = ("size", "mean", "std", "crop_pct", *INPUT_CHOICES)


@dataclass(frozen=True)
class ArchFile:
    """The content of an arch file.

    Args:
        arch: The arch.
        shape: Shape of the backbone, to check the cost without torch.
        backbone: `model` and `args` for `timm.create_model`.
        input: Size, mean, std, crop_pct, crop_mode and interpolation of the images.
        classes: Class names, if known.
        metrics: Measured metrics.
        origin: Run, trial, seed, supernet and version.
    """

    arch: Arch
    shape: BackboneShape
    backbone: dict[str, Any] = field(default_factory=dict)
    input: dict[str, Any] = field(default_factory=dict)
    classes: list[str] = field(default_factory=list)
    metrics: dict[str, Any] = field(default_factory=dict)
    origin: dict[str, Any] = field(default_factory=dict)


def load_arch(path: str | Path) -> Arch:
    """Read the arch of an arch file; `load_arch_file` reads all of the file.

    Raises:
        InputError: The file is invalid; names file, line, place and value.
    """
    return load_arch_file(path).arch


def load_arch_file(path: str | Path) -> ArchFile:
    """Read an arch file, checking its blocks against the rules and its cost against both.

    Raises:
        InputError: The file is invalid; names file, line, place and value.
    """
    return _read_file(open_yaml(path, SCHEMA))


def parse_arch(data: Mapping[str, Any], whose: str) -> ArchFile:
    """Parse the values of an arch file stored elsewhere, such as in a `config.json`.

    Raises:
        InputError: A value is invalid; names `whose`, place and value.
    """
    return _read_file(of_schema(Document(Path(whose), data, {}), SCHEMA))


def _read_file(reader: Reader) -> ArchFile:
    given = reader.mapping(*REQUIRED, backbone={}, input={}, classes=[], metrics={}, origin={})
    shape = BackboneShape.read(given["shape"])
    arch = read_blocks(given["blocks"])
    _check_cost(given["cost"], given["blocks"].make(cost_to_dict, arch, shape))
    extras = {}
    for key in ("backbone", "input", "metrics", "origin"):
        given[key].entries()
        extras[key] = given[key].value
    for key, each in given["input"].entries().items():
        each.make(check_input, key, each.value)
    classes = given["classes"].value
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise given["classes"].error(f"must be a list of names, got {shown(classes)}")
    return ArchFile(arch, shape, classes=classes, **extras)


def save_arch(
    arch: Arch,
    path: str | Path,
    *,
    shape: BackboneShape,
    backbone: Mapping[str, Any] | None = None,
    input: Mapping[str, Any] | None = None,
    classes: list[str] | None = None,
    metrics: Mapping[str, Any] | None = None,
    origin: Mapping[str, Any] | None = None,
) -> None:
    """Write an arch file; see `ArchFile` for the arguments.

    Raises:
        InputError: The arch does not fit the shape or breaks a rule, `input` is invalid, or a
            value is not a plain one; nothing is written.
    """
    data = arch_data(
        arch,
        shape=shape,
        backbone=backbone,
        input=input,
        classes=classes,
        metrics=metrics,
        origin=origin,
    )
    write_yaml(path, data)


def arch_data(
    arch: Arch,
    *,
    shape: BackboneShape,
    backbone: Mapping[str, Any] | None = None,
    input: Mapping[str, Any] | None = None,
    **extras: Mapping[str, Any] | list[str] | None,
) -> dict[str, Any]:
    """Return the content of an arch file as plain values; see `ArchFile` for the arguments.

    Raises:
        InputError: The arch does not fit the shape or breaks a rule, or `input` is invalid.
    """
    check_inputs(input or {})
    given = {"backbone": backbone, "input": input, **extras}
    # The required cost comes last, so that a truncated file is noticed on reading.
    return {
        "schema": SCHEMA,
        **{key: value for key, value in given.items() if value},
        "shape": shape.to_dict(),
        "blocks": [block_to_dict(block) for block in arch.blocks],
        "cost": cost_to_dict(arch, shape),
    }


def block_to_dict(block: BlockArch) -> dict[str, Any]:
    """Return the values of a block that are not the default."""
    values: dict[str, Any] = {}
    for operator in operators():
        values |= operator.to_dict(operator.choice(block))
    return values


def cost_to_dict(arch: Arch, shape: BackboneShape) -> dict[str, Any]:
    return {
        "macs": macs(arch, shape),
        "params": params(arch, shape),
        "patch_tokens": token_counts(arch, shape),
    }


def read_blocks(reader: Reader) -> Arch:
    """Read an arch from a list of one mapping per block, as in arch files, fronts and tables."""
    return reader.make(Arch, tuple(map(_read_block, reader.items(least=1))))


def _read_block(reader: Reader) -> BlockArch:
    keys: dict[str, Any] = {key: None for operator in operators() for key in operator.keys}
    given = {key: each for key, each in reader.mapping(**keys).items() if each.value is not None}
    block = PLAIN
    for operator in operators():
        if not given.keys().isdisjoint(operator.keys):
            block = reader.make(operator.put, block, operator.from_dict(given))
    return block


def _check_cost(reader: Reader, right: Mapping[str, Any]) -> None:
    for key, each in reader.mapping(*right).items():
        numbers = each.value if isinstance(each.value, list) else [each.value]
        if each.value != right[key] or not all(map(is_integer, numbers)):
            raise each.error(
                f"does not fit blocks and shape, which give {shown(right[key])}, "
                f"got {shown(each.value)}"
            )


def check_input(key: str, value: object) -> None:
    """Check an entry of `input`: size (channels, height, width) or a key of timm's data config.

    Raises:
        InputError: The key is unknown, or its value is invalid.
    """
    if key not in INPUT_KEYS:
        hint = near(key, list(INPUT_KEYS)) or f"; known are {', '.join(INPUT_KEYS)}"
        raise InputError(f"unknown key{hint}")
    if not _fits(key, value):
        wanted = {
            "size": "channels, height and width",
            "crop_pct": "a number above 0",
            **{name: f"one of {', '.join(known)}" for name, known in INPUT_CHOICES.items()},
        }
        raise InputError(
            f"must be {wanted.get(key, 'a number for each channel')}, got {shown(value)}"
        )


def check_inputs(values: Mapping[str, object]) -> None:
    """Check every entry of `input`.

    Raises:
        InputError: As in `check_input`; names the key.
    """
    for key, value in values.items():
        try:
            check_input(key, value)
        except InputError as error:
            raise InputError(f"input.{key}: {error}") from None


def _fits(key: str, value: object) -> bool:
    if key in INPUT_CHOICES:
        return value in INPUT_CHOICES[key]
    if key == "crop_pct":
        return is_number(value) and value > 0
    if not isinstance(value, list | tuple):
        return False
    if key == "size":
        return len(value) == 3 and all(is_integer(each) and each > 0 for each in value)
    return len(value) > 0 and all(map(is_number, value))
