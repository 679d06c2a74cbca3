"""Weights as safetensors, written atomically and read strictly."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
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
    # safetensors' own writer makes a file that only its owner can read.
    with replacing(path) as file:
        file.write(tensor_bytes(model.state_dict(), metadata))


def tensor_bytes(tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> bytes:
    """Serialise tensors to the bytes of a safetensors file."""
    # safetensors refuses tensors that share memory.
    own = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    return _ordered(save(own, metadata={"format": "pt", **(metadata or {})}))


def _ordered(data: bytes) -> bytes:
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
        InputError: The file cannot be read or is no safetensors file.
    """
    try:
        # Of missing files and folders safetensors' own errors are less clear.
        with Path(path).open("rb"):
            return load_file(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {one_line(error)}") from None
    except SafetensorError as error:
        raise InputError(f"{path}: no whole safetensors file: {one_line(error)}") from None


def first_not_finite(model: nn.Module) -> str | None:
    """Return the name of the first weight with NaN or infinity; None where all are finite."""
    named = model.state_dict().items()
    return next((name for name, each in named if not each.isfinite().all()), None)


def load_weights(model: nn.Module, path: str | Path) -> None:
    """Load weights that must fit the model exactly.

    Raises:
        InputError: The file cannot be read, names or sizes differ, or a weight is not finite.
    """
    given, own = read_tensors(path), model.state_dict()
    wrong = [f"misses {cut(name)}" for name in sorted(own.keys() - given.keys())]
    wrong += [f"has unknown {cut(name)}" for name in sorted(given.keys() - own.keys())]
    wrong += [
        f"has {name} {list(given[name].shape)} instead of {list(own[name].shape)}"
        for name in sorted(own.keys() & given.keys())
        if given[name].shape != own[name].shape
    ]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise InputError(f"{path}: {', '.join(wrong[:3])}{more}")
    try:
        model.load_state_dict(given)
    except RuntimeError as error:
        # torch cannot copy between all dtypes.
        raise InputError(f"{path}: cannot be loaded: {one_line(error)}") from None
    name = first_not_finite(model)
    if name is not None:
        raise InputError(
            f"{path}: {cut(name)} is not finite: its training diverged; delete the file to train "
            "anew"
        )
