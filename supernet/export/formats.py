"""The export formats."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

from space.utils.errors import InputError
from supernet.export import onnx, torch_export
from supernet.export import safetensors as weights
from supernet.export.compare import Answers
from supernet.models.elastic import ElasticViT


@dataclass(frozen=True)
class Format:
    """An export format.

    Args:
        file: Name of the file.
        write: Function from the subnet and its description (JSON text) to the bytes of the file.
        run: Function from those bytes and the subnet to a network, for the comparison.
        packages: Packages that it needs, of the extra `onnx`.
    """

    file: str
    write: Callable[[ElasticViT, str], bytes]
    run: Callable[[bytes, ElasticViT], Answers]
    packages: tuple[str, ...] = ()


FORMATS = {
    "safetensors": Format("model.safetensors", weights.write, weights.run),
    "torch-export": Format("model.pt2", torch_export.write, torch_export.run),
    "onnx": Format("model.onnx", onnx.write, onnx.run, ("onnx", "onnxscript", "onnxruntime")),
}


def check_packages(name: str) -> None:
    """Refuse a format whose packages are missing.

    Raises:
        InputError: A package is not installed.
    """
    missing = [package for package in FORMATS[name].packages if find_spec(package) is None]
    if missing:
        raise InputError(
            f"{name} needs {', '.join(missing)}, not installed here: pip install 'tokennas[onnx]'"
        )
