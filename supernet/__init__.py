"""The weights of all archs: operators, the elastic model, training, extraction, retraining."""

from supernet.backbone import backbone_shape, check_backbone, create_backbone
from supernet.elastic import ElasticViT
from supernet.extraction import create_subnet, extract
from supernet.model import Supernet
from supernet.registry import tokennas_vit
from supernet.retraining import RetrainRecipe, retrain
from supernet.task import Classification
from supernet.training import SupernetRecipe, train_supernet
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
