"""The supernet: operators, the elastic model, training, extraction, retraining, export."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from supernet.backbones.vit import backbone_shape as backbone_shape
    from supernet.backbones.vit import check_backbone as check_backbone
    from supernet.backbones.vit import create_backbone as create_backbone
    from supernet.models.elastic import ElasticViT as ElasticViT
    from supernet.models.subnet import create_subnet as create_subnet
    from supernet.models.subnet import extract as extract
    from supernet.models.supernet import Supernet as Supernet
    from supernet.models.timm_registry import tokennas_vit as tokennas_vit
    from supernet.tasks.classification import Classification as Classification
    from supernet.training.recipe import RetrainRecipe as RetrainRecipe
    from supernet.training.recipe import SupernetRecipe as SupernetRecipe
    from supernet.training.retrain import retrain as retrain
    from supernet.training.train_supernet import train_supernet as train_supernet
    from supernet.weights import load_weights as load_weights
    from supernet.weights import save_weights as save_weights

# Imported lazily, so that the command line prints its help without importing torch.
_MODULES = {
    "Classification": "supernet.tasks.classification",
    "ElasticViT": "supernet.models.elastic",
    "RetrainRecipe": "supernet.training.recipe",
    "Supernet": "supernet.models.supernet",
    "SupernetRecipe": "supernet.training.recipe",
    "backbone_shape": "supernet.backbones.vit",
    "check_backbone": "supernet.backbones.vit",
    "create_backbone": "supernet.backbones.vit",
    "create_subnet": "supernet.models.subnet",
    "extract": "supernet.models.subnet",
    "load_weights": "supernet.weights",
    "retrain": "supernet.training.retrain",
    "save_weights": "supernet.weights",
    "tokennas_vit": "supernet.models.timm_registry",
    "train_supernet": "supernet.training.train_supernet",
}
__all__ = list(_MODULES)
# Its import registers tokennas_vit with timm.
_TIMM_REGISTRY = "supernet.models.timm_registry"


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'supernet' has no attribute {name!r}")
    import_module(_TIMM_REGISTRY)
    return getattr(import_module(_MODULES[name]), name)


if "timm" in sys.modules:
    # timm has imported torch already, so registering at once costs no time.
    import_module(_TIMM_REGISTRY)
