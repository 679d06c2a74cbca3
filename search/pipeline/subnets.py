"""The subnets of arch files: with the weights that lie beside them, or those of the supernet."""

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

# In the folder of one network: its weights as retrained, or as exported.
OWN = (WEIGHTS, FORMATS["safetensors"].file)
SUPERNET = "supernet"


def load_subnet(run: RunContext, path: Path, file: ArchFile) -> tuple[ElasticViT, str]:
    """The subnet of an arch file, to evaluate, and the name of what its weights come from.

    Raises:
        InputError: it knows other classes than the data, or belongs to another backbone.
    """
    if len(file.classes) not in (0, len(run.task.classes)):
        raise InputError(f"{path}: knows {len(file.classes)} classes, {run.task.needs}")
    weights = weights_beside(path)
    if weights is not None:
        return create_subnet(path, weights).to(run.device).eval(), weights.name
    check_shape(run.supernet.shape, file.shape, str(path))
    return extract(run.supernet, file.arch).eval(), SUPERNET


def weights_beside(path: Path) -> Path | None:
    """The weights of an arch file: of the same name, or those of the folder that holds it alone."""
    names = [path.with_suffix(".safetensors").name, *(OWN if path.name == ARCH else ())]
    return next((path.with_name(name) for name in names if path.with_name(name).exists()), None)


def about(run: RunContext) -> dict[str, Any]:
    """Backbone, input and classes of a run, as arch files have them."""
    backbone, task = run.config.backbone, run.task
    args = {**backbone.args, "num_classes": task.outputs}
    return {
        "backbone": {"model": backbone.model, "args": args},
        "input": run.data.input,
        "classes": list(task.classes),
    }
