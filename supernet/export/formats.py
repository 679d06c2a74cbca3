"""The export formats, and the export of a subnet to a file, written only after a comparison."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from safetensors.torch import load
from torch import Tensor

from space.utils.atomic import replacing
from space.utils.errors import InputError, one_line
from supernet.export.compare import MAX_DIFFERENCE, MAX_DIFFERING, Check, ExportedNetwork, compare
from supernet.export.programs import run_onnx, run_program, write_onnx, write_program
from supernet.models.elastic import ElasticViT
from supernet.weights import tensor_bytes


def write_weights(subnet: ElasticViT, description: str, batch: int | None = None) -> bytes:
    """Return the bytes of `model.safetensors`, for `create_subnet` and timm; see `Format.write`."""
    return tensor_bytes(subnet.state_dict(), {"config.json": description})


def run_weights(data: bytes, subnet: ElasticViT, batch: int | None = None) -> ExportedNetwork:
    """Load the written weights into a copy of the subnet."""
    reloaded = copy.deepcopy(subnet)
    reloaded.load_state_dict(load(data))
    return reloaded.forward_with_choices


@dataclass(frozen=True)
class Format:
    """An export format.

    Args:
        file: Name of the file.
        write: Function from the subnet, its description (JSON text) and the batch size, None for
            any, to the bytes of the file.
        run: Function from those bytes, the subnet and the batch size to the network to compare.
        extra: Extra of tokennas that has the format's packages.
        packages: Those packages.
        takes_batch: Whether it may have a fixed batch size.
    """

    file: str
    write: Callable[[ElasticViT, str, int | None], bytes]
    run: Callable[[bytes, ElasticViT, int | None], ExportedNetwork]
    extra: str = ""
    packages: tuple[str, ...] = ()
    takes_batch: bool = False


FORMATS = {
    "safetensors": Format("model.safetensors", write_weights, run_weights),
    "torch-export": Format("model.pt2", write_program, run_program, takes_batch=True),
    "onnx": Format(
        "model.onnx",
        write_onnx,
        run_onnx,
        "onnx",
        ("onnx", "onnxscript", "onnxruntime"),
        takes_batch=True,
    ),
}


def check_packages(name: str) -> None:
    """Refuse a format whose packages are missing.

    Raises:
        InputError: A package is not installed.
    """
    form = FORMATS[name]
    missing = [package for package in form.packages if find_spec(package) is None]
    if missing:
        raise InputError(
            f"{name} needs {', '.join(missing)}, not installed here: "
            f"pip install 'tokennas[{form.extra}]'"
        )


def export_subnet(
    subnet: ElasticViT,
    path: str | Path,
    name: str,
    images: Tensor,
    description: Mapping[str, Any] | None = None,
    *,
    batch: int | None = None,
) -> Check:
    """Export a subnet to a file, if the exported network computes the same on `images`.

    Args:
        subnet: The subnet, exported in float32 and evaluation mode from a copy on the CPU.
        path: The file.
        name: Name of a format in `FORMATS`.
        images: Real, preprocessed images, (n, C, H, W).
        description: Description to store in the file: `hub_config`, or other plain values.
        batch: Fixed batch size of a program; None for any.

    Returns:
        The result of the comparison.

    Raises:
        InputError: Packages are missing, the backbone cannot be exported in this format, outputs or
            selections differ too much, or the file cannot be written; an existing file stays.
    """
    if name not in FORMATS:
        raise InputError(f"format {name!r}: known are {', '.join(FORMATS)}")
    check_packages(name)
    form = FORMATS[name]
    batch = batch if form.takes_batch else None
    plain = copy.deepcopy(subnet).cpu().float().eval().requires_grad_(False)
    try:
        data = form.write(plain, json.dumps(description or {}), batch)
    except Exception as error:
        # Exporters raise errors of many types.
        reason = one_line(error, typed=True)
        raise InputError(f"{path}: this backbone cannot be exported as {name}: {reason}") from error
    check = compare(plain, form.run(data, plain, batch), images.cpu().float(), batch)
    if not check.equal:
        raise InputError(
            f"{path}: not written, since it differs from the subnet: {check}; at most "
            f"{MAX_DIFFERENCE:.0e} of the largest output, and {MAX_DIFFERING:.0%} of the "
            "selections, may differ"
        )
    with replacing(path) as file:
        file.write(data)
    return check
