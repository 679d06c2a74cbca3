"""The weights of all archs: operators, the elastic model, extraction."""

from supernet.backbone import backbone_shape, check_backbone, create_backbone
from supernet.elastic import ElasticViT
from supernet.extraction import create_subnet, extract
from supernet.model import Supernet
from supernet.registry import tokennas_vit
from supernet.weights import load_weights, save_weights

__all__ = [
    "ElasticViT",
    "Supernet",
    "backbone_shape",
    "check_backbone",
    "create_backbone",
    "create_subnet",
    "extract",
    "load_weights",
    "save_weights",
    "tokennas_vit",
]
