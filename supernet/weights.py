"""Weights as safetensors: atomic writing, strict reading."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from space.utils.atomic import replacing
from space.utils.errors import InputError, cut, one_line


def save_weights(
    model: nn.Module, path: str | Path, metadata: Mapping[str, str] | None = None
) -> None:
    """Write a model's state dict as safetensors.

    Raises:
        InputError: The file cannot be written.
    """
    # Not `save_file`: it makes files that only their owner can read.
    with replacing(path) as file:
        file.write(tensor_bytes(model.state_dict(), metadata))


def tensor_bytes(tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> bytes:
    """Serialise tensors to the bytes of a safetensors file."""
    # Copies, since safetensors refuses tensors that share memory.
    copies = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    return _sort_metadata(save(copies, metadata={"format": "pt", **(metadata or {})}))


def _sort_metadata(data: bytes) -> bytes:
    """Sort the metadata of a safetensors file, so that the same tensors give the same bytes."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data[8 + length :]


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """Read a safetensors file.

    Raises:
        InputError: The file cannot be read, or is not a safetensors file.
    """
    try:
        # Opened first, since safetensors' errors for missing files and folders are less clear.
        with Path(path).open("rb"):
            return load_file(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {one_line(error)}") from None
    except SafetensorError as error:
        raise InputError(f"{path}: not a complete safetensors file: {one_line(error)}") from None


def read_metadata(path: str | Path) -> Mapping[str, str]:
    """Read the metadata of a safetensors file; none of a file of another format."""
    try:
        with safe_open(path, "pt") as file:
            return file.metadata() or {}
    except (OSError, SafetensorError):
        return {}


def first_not_finite(model: nn.Module) -> str | None:
    """Return the name of the first weight with NaN or infinity, or None."""
    items = model.state_dict().items()
    return next((name for name, each in items if not each.isfinite().all()), None)


def load_weights(model: nn.Module, path: str | Path) -> None:
    """Load weights that must fit the model exactly.

    Raises:
        InputError: The file cannot be read, names or sizes differ, or a weight is not finite.
    """
    actual, expected = read_tensors(path), model.state_dict()
    errors = [f"lacks {cut(name)}" for name in sorted(expected.keys() - actual.keys())]
    errors += [f"has unknown {cut(name)}" for name in sorted(actual.keys() - expected.keys())]
    errors += [
        f"has {name} {list(actual[name].shape)} instead of {list(expected[name].shape)}"
        for name in sorted(expected.keys() & actual.keys())
        if actual[name].shape != expected[name].shape
    ]
    if errors:
        more = f" and {len(errors) - 3} more" if len(errors) > 3 else ""
        raise InputError(f"{path}: {', '.join(errors[:3])}{more}")
    try:
        model.load_state_dict(actual)
    except RuntimeError as error:
        # For some pairs of dtypes torch cannot copy.
        raise InputError(f"{path}: cannot be loaded: {one_line(error)}") from None
    name = first_not_finite(model)
    if name is not None:
        raise InputError(
            f"{path}: {cut(name)} is not finite: its training diverged; delete the file to train "
            "again"
        )
