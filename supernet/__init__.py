"""The weights of all archs: operators, the elastic model, training, extraction, retraining."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from supernet.backbone import backbone_shape, check_backbone, create_backbone
    from supernet.elastic import ElasticViT
    from supernet.extraction import create_subnet, extract
    from supernet.model import Supernet
    from supernet.recipe import RetrainRecipe, SupernetRecipe
    from supernet.registry import tokennas_vit
    from supernet.retraining import retrain
    from supernet.task import Classification
    from supernet.training import train_supernet
    from supernet.weights import load_weights, save_weights

__all__ = [
    "Classification",
    "ElasticViT",
    "RetrainRecipe",
    "Supernet",
    "SupernetRecipe",
    "backbone_shape",
    "check_backbone",
    "create_backbone",
    "create_subnet",
    "extract",
    "load_weights",
    "retrain",
    "save_weights",
    "tokennas_vit",
    "train_supernet",
]

# Imported when they are asked for: the command line must not wait for torch to print its help.
_HOMES = {
    "Classification": "supernet.task",
    "ElasticViT": "supernet.elastic",
    "RetrainRecipe": "supernet.recipe",
    "Supernet": "supernet.model",
    "SupernetRecipe": "supernet.recipe",
    "backbone_shape": "supernet.backbone",
    "check_backbone": "supernet.backbone",
    "create_backbone": "supernet.backbone",
    "create_subnet": "supernet.extraction",
    "extract": "supernet.extraction",
    "load_weights": "supernet.weights",
    "retrain": "supernet.retraining",
    "save_weights": "supernet.weights",
    "tokennas_vit": "supernet.registry",
    "train_supernet": "supernet.training",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'supernet' has no attribute {name!r}")
    _register()
    return getattr(import_module(_HOMES[name]), name)


def _register() -> None:
    """Tell timm of tokennas_vit."""
    import_module("supernet.registry")


if "timm" in sys.modules:
    # `import timm, supernet` is all that timm needs, and nobody is left to wait for torch.
    _register()
