"""The formats that subnets are written in."""

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
    """A way to write a subnet.

    Args:
        file: what the file is called.
        write: subnet and description, as text, to the bytes of the file.
        run: those bytes as a network; the subnet is only asked what they leave open.
        packages: that it needs, of the extra `onnx`.
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
    """Refuse a format before work starts on it.

    Raises:
        InputError: a package that it needs is not installed.
    """
    missing = [package for package in FORMATS[name].packages if find_spec(package) is None]
    if missing:
        raise InputError(
            f"{name} needs {', '.join(missing)}, not installed here: pip install 'tokennas[onnx]'"
        )
