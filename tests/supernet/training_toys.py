"""A toy supernet, images as tensors, and what a run of it needs."""

from dataclasses import dataclass

import torch
from timm.models.vision_transformer import VisionTransformer

from space import SearchSpace
from supernet import Supernet, backbone_shape
from supernet.config import AugmentConfig, DataConfig
from supernet.data.splits import open_data
from supernet.tasks.classification import Classification

CLASSES = tuple("0123456789")
SPACE = {
    "pool": {"kinds": ["avg2d", "conv2d"], "grids": [2], "max_pools": 1},
    "share": {"max_run": 1},
    "skip": {"ratios": [0.5], "selectors": ["map", "cls"], "max_run": 2},
}


def toy_backbone(**args):
    torch.manual_seed(0)
    return VisionTransformer(
        img_size=16,
        patch_size=4,
        embed_dim=16,
        depth=4,
        num_heads=2,
        num_classes=len(CLASSES),
        **args,
    )


def toy_supernet(**args):
    backbone = toy_backbone(**args)
    return Supernet(backbone, SearchSpace.from_dict(SPACE, backbone_shape(backbone)))


def toy_data(supernet, workers=0, **augment):
    """Digits, few of them, with every kind of augmentation where asked for."""
    config = DataConfig(
        augment=AugmentConfig(**augment),
        batch=16,
        workers=workers,
        train_limit=100,
        search_share=0.2,
    )
    return open_data(config, supernet, seed=3)


EVERYTHING = {
    "auto_augment": "rand-m9-mstd0.5-inc1",
    "erasing": 0.5,
    "color_jitter": 0.3,
    "mixup": 0.8,
    "cutmix": 1.0,
}


def toy_task(**args):
    return Classification(CLASSES, **args)


def same_weights(one, other):
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)


@dataclass
class TensorLoader:
    """A user's own loader: plain (images, targets)."""

    batches: list

    def __len__(self):
        return len(self.batches)

    def __iter__(self):
        return iter(self.batches)


def random_loader(count=3, batch=8):
    rng = torch.Generator().manual_seed(5)
    return TensorLoader(
        [
            (
                torch.randn(batch, 3, 16, 16, generator=rng),
                torch.randint(10, (batch,), generator=rng),
            )
            for _ in range(count)
        ]
    )
