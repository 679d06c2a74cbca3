"""Figures of arch files on the test split."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from torch import nn

from search.config import Config
from search.stages.setup import Setup, trained
from search.stages.speed import images_per_second
from search.tables import show_rows
from space.cost import macs, params
from space.errors import InputError
from space.files import ArchFile, load_arch_file
from supernet.evaluation import HeldOut
from supernet.extraction import create_subnet, extract
from supernet.model import check_shape


def evaluate(
    config: Config, file: Path | None, archs: list[str], console: Console
) -> list[dict[str, Any]]:
    """Accuracy on the test split, MACs, parameters and images/s of arch files.

    An arch file with weights beside it (the same name, .safetensors) is judged with them, any
    other one with those of the supernet.

    Raises:
        InputError: an arch file is not right, or belongs to another backbone.
    """
    files = {path: load_arch_file(path) for path in map(Path, archs)}
    setup = trained(config, file)
    test = HeldOut(setup.data.test, setup.task, setup.device, config.supernet.amp)
    found = {path: _subnet(path, arch_file, setup) for path, arch_file in files.items()}
    speeds = images_per_second(
        {str(path): subnet for path, (subnet, _) in found.items()}, config.supernet.amp
    )
    rows = [
        {
            "arch": path.name,
            "weights": source,
            **test.measure(subnet),
            "macs": macs(files[path].arch, files[path].shape),
            "params": params(files[path].arch, files[path].shape),
            "images/s": speeds[str(path)]["value"],
        }
        for path, (subnet, source) in found.items()
    ]
    show_rows(rows, console)
    return rows


def _subnet(path: Path, file: ArchFile, setup: Setup) -> tuple[nn.Module, str]:
    weights = path.with_suffix(".safetensors")
    if len(file.classes) not in (0, len(setup.data.classes)):
        raise InputError(
            f"{path}: knows {len(file.classes)} classes, the data {len(setup.data.classes)}"
        )
    if weights.exists():
        subnet = create_subnet(path, weights).to(setup.device).eval()
        return subnet, weights.name
    check_shape(setup.supernet.shape, file.shape, str(path))
    return extract(setup.supernet, file.arch).eval(), "supernet"
