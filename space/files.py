"""Arch files: all that is needed to run an arch, as YAML (schema tokennas/arch/1)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from space.arch import Arch, BlockArch, Pool, is_integer
from space.cost import macs, params, token_counts
from space.errors import InputError, near, shown
from space.images import check_input, check_inputs
from space.shape import BackboneShape
from space.yamlfile import Document, Place, read_yaml, write_yaml

T = TypeVar("T")

SCHEMA = "tokennas/arch/1"
KEYS = (
    "schema",
    "backbone",
    "input",
    "classes",
    "metrics",
    "origin",
    "shape",
    "blocks",
    "cost",
)
REQUIRED = ("schema", "shape", "blocks", "cost")
BLOCK_KEYS = ("pool", "skip", "selector", "attention")
POOL_KEYS = ("kind", "grid", "stride")


@dataclass(frozen=True)
class ArchFile:
    """What an arch file says.

    Args:
        arch: the choices.
        shape: the backbone's integers, against which the cost is checked without torch.
        backbone: `model` and `args` for `timm.create_model`.
        input: size, mean, std, crop_pct, crop_mode and interpolation of the images (`images`).
        classes: names, where known.
        metrics: what was measured of it.
        origin: run, trial, seed, supernet and version that it comes from.
    """

    arch: Arch
    shape: BackboneShape
    backbone: dict[str, Any] = field(default_factory=dict)
    input: dict[str, Any] = field(default_factory=dict)
    classes: list[str] = field(default_factory=list)
    metrics: dict[str, Any] = field(default_factory=dict)
    origin: dict[str, Any] = field(default_factory=dict)


def load_arch(path: str | Path) -> Arch:
    """The arch of an arch file; `load_arch_file` gives all that the file says.

    Raises:
        InputError: file, line, place, value and what would be right.
    """
    return load_arch_file(path).arch


def load_arch_file(path: str | Path) -> ArchFile:
    """Read an arch file, checking its blocks against the rules and its cost against both.

    Raises:
        InputError: file, line, place, value and what would be right.
    """
    return _arch_file(read_yaml(path))


def parse_arch(data: Mapping[str, Any], whose: str) -> ArchFile:
    """What the values of an arch file say that lie elsewhere, such as in a `config.json`.

    Raises:
        InputError: `whose` they are, place, value and what would be right.
    """
    return _arch_file(Document(Path(whose), data, {}))


def _arch_file(document: Document) -> ArchFile:
    document.check_schema(SCHEMA)
    given = _mapping(document, (), document.data, KEYS)
    data = {key: value for key, value in given.items() if value is not None}
    for key in REQUIRED:
        if key not in data:
            raise document.error((), f"missing {key!r}")
    if data["schema"] != SCHEMA:
        raise document.error(("schema",), f"must be {SCHEMA}, got {shown(data['schema'])}")
    shape = _at(document, ("shape",), BackboneShape.from_dict, data["shape"])
    arch = _arch(document, data["blocks"])
    _check_cost(document, arch, shape, data["cost"])
    extras = {}
    for key in ("backbone", "input", "metrics", "origin"):
        extras[key] = _mapping(document, (key,), data.get(key, {}), None)
    for key, value in extras["input"].items():
        _at(document, ("input", key), check_input, key, value)
    classes = data.get("classes", [])
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise document.error(("classes",), f"must be a list of names, got {shown(classes)}")
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
        InputError: the arch does not fit the shape or breaks a rule, `input` is not right, or a
            value is no plain one that a file can hold; nothing is written.
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
    """What an arch file says, as plain values; see `ArchFile` for the arguments.

    Raises:
        InputError: the arch does not fit the shape or breaks a rule, or `input` is not right.
    """
    check_inputs(input or {})
    given = {"backbone": backbone, "input": input, **extras}
    # The cost comes last: it is there whole or the file was cut off, and whoever reads it notices.
    return {
        "schema": SCHEMA,
        **{key: value for key, value in given.items() if value},
        "shape": shape.to_dict(),
        "blocks": [block_to_dict(block) for block in arch.blocks],
        "cost": cost_to_dict(arch, shape),
    }


def block_to_dict(block: BlockArch) -> dict[str, Any]:
    """What differs from the plain block."""
    values: dict[str, Any] = {}
    if block.pool is not None:
        values["pool"] = {"kind": block.pool.kind}
        if block.pool.grid is not None:
            values["pool"]["grid"] = list(block.pool.grid)
        else:
            values["pool"]["stride"] = block.pool.stride
    if block.skip:
        values["skip"] = float(block.skip)
    if block.selector != "map" or block.skip:
        values["selector"] = block.selector
    if block.shared:
        values["attention"] = block.attention
    return values


def cost_to_dict(arch: Arch, shape: BackboneShape) -> dict[str, Any]:
    return {
        "macs": macs(arch, shape),
        "params": params(arch, shape),
        "patch_tokens": token_counts(arch, shape),
    }


def _arch(document: Document, blocks: object) -> Arch:
    if not isinstance(blocks, list) or not blocks:
        raise document.error(
            ("blocks",), f"must be a list with one entry a block, got {shown(blocks)}"
        )
    return Arch(tuple(_block(document, ("blocks", i), block) for i, block in enumerate(blocks)))


def _block(document: Document, place: Place, values: object) -> BlockArch:
    given = dict(_mapping(document, place, values, BLOCK_KEYS))
    if given.get("pool") is not None:
        given["pool"] = _pool(document, (*place, "pool"), given["pool"])
    return _at(document, place, BlockArch, **given)


def _pool(document: Document, place: Place, values: object) -> Pool:
    given = dict(_mapping(document, place, values, POOL_KEYS))
    if "kind" not in given:
        raise document.error(place, "missing 'kind'")
    if isinstance(given.get("grid"), list):
        given["grid"] = tuple(given["grid"])
    return _at(document, place, Pool, **given)


def _check_cost(document: Document, arch: Arch, shape: BackboneShape, given: object) -> None:
    right = _at(document, ("blocks",), cost_to_dict, arch, shape)
    values = _mapping(document, ("cost",), given, tuple(right))
    for key, value in right.items():
        got = values.get(key)
        numbers = got if isinstance(got, list) else [got]
        if got != value or not all(map(is_integer, numbers)):
            message = f"does not fit blocks and shape, which give {shown(value)}, got {shown(got)}"
            raise document.error(("cost", key), message)


def _mapping(
    document: Document, place: Place, values: object, known: tuple[str, ...] | None
) -> dict[str, Any]:
    if not isinstance(values, dict):
        raise document.error(place, f"must be a mapping, got {shown(values)}")
    for key in values:
        if known is not None and key not in known:
            hint = near(key, list(known)) or f"; known are {', '.join(known)}"
            raise document.error((*place, key), f"unknown key{hint}")
    return values


def _at(document: Document, place: Place, make: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Call `make`, giving its complaint the place in the file."""
    try:
        return make(*args, **kwargs)
    except InputError as error:
        raise document.error(place, str(error)) from None
