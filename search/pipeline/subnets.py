"""Loading subnets of arch files, with the weights beside them or those of the supernet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from search.pipeline.context import RunContext
from search.pipeline.network_folder import ARCH, WEIGHTS
from space.arch_file import ArchFile
from space.utils.errors import InputError
from supernet.export import FORMATS
from supernet.models.elastic import ElasticViT
from supernet.models.subnet import create_subnet, extract
from supernet.models.supernet import check_shape

# Weights in a network's folder: retrained, or exported.
OWN = (WEIGHTS, FORMATS["safetensors"].file)
SUPERNET = "supernet"


def load_subnet(run: RunContext, path: Path, file: ArchFile) -> tuple[ElasticViT, str]:
    """Load the subnet of an arch file in eval mode; return it and the source of its weights.

    Raises:
        InputError: Its classes are not those of the data, or its backbone is another one.
    """
    if len(file.classes) not in (0, len(run.task.classes)):
        raise InputError(f"{path}: knows {len(file.classes)} classes, {run.task.needs}")
    weights = weights_beside(path)
    if weights is not None:
        return create_subnet(path, weights).to(run.device).eval(), weights.name
    check_shape(run.supernet.shape, file.shape, str(path))
    return extract(run.supernet, file.arch).eval(), SUPERNET


def weights_beside(path: Path) -> Path | None:
    """Return the weights beside an arch file: of its name, or those of its network's folder."""
    names = [path.with_suffix(".safetensors").name, *(OWN if path.name == ARCH else ())]
    return next((path.with_name(name) for name in names if path.with_name(name).exists()), None)


def about(run: RunContext) -> dict[str, Any]:
    """Return backbone, input and classes of a run, in the format of arch files."""
    backbone, task = run.config.backbone, run.task
    args = {**backbone.args, "num_classes": task.outputs}
    return {
        "backbone": {"model": backbone.model, "args": args},
        "input": run.data.input,
        "classes": list(task.classes),
    }
