"""Toy data of dense tasks, made by code: pictures of walls whose brightness tells depth."""

import numpy as np
import torch
from PIL import Image
from timm.models.vision_transformer import VisionTransformer

from space import Arch, SearchSpace, save_arch
from space.utils.reader import Reader
from supernet import Supernet, backbone_shape, extract, save_weights
from supernet.config import AugmentConfig, DataConfig, DatasetConfig
from supernet.models.subnet import cut_subnet
from supernet.tasks.registry import task_class

SIZE, PATCH = (16, 24), 4
# Without 1-D kinds, whose tokens have no places for a head to read.
SPACE = {
    "pool": {"kinds": ["avg2d", "conv2d"], "grids": [[3, 4], [2, 3]], "max_pools": 2},
    "share": {"max_run": 2},
    "skip": {"ratios": [0.25, 0.5], "selectors": ["map", "cls"], "max_run": 2},
}
CLASSES = 5
# The model of timm that `dense_backbone` is, for arch files.
MODEL = "vit_tiny_patch16_224"
ARGS = {"img_size": SIZE, "patch_size": PATCH, "embed_dim": 16, "depth": 4, "num_heads": 2}
SECTIONS = {
    "depth": {"name": "depth", "head": {"blocks": [1, 3], "batch_norm": True}},
    "depth_log": {"name": "depth", "output": "log", "head": {"cls": False}},
    "depth_dpt": {
        "name": "depth",
        "head": {"name": "dpt", "channels": [4, 4, 8, 8], "fusion": 8, "batch_norm": True},
    },
    "segmentation": {"name": "segmentation", "classes": CLASSES},
}


def dense_task(section="depth", augment=None, **dataset):
    """A task by its section, or by the name of one above."""
    values = SECTIONS[section] if isinstance(section, str) else section
    data = DataConfig(DatasetConfig(name="pairs", **dataset), augment=augment or AugmentConfig())
    return task_class(values["name"]).from_config(Reader(values, ("task",)), (), data)


def dense_backbone(task=None, **args):
    torch.manual_seed(0)
    backbone = VisionTransformer(**{**ARGS, "num_classes": 3, **args})
    if task is not None:
        task.reset_head(backbone, 0)
    return backbone


def dense_supernet(section="depth", space=SPACE, **args):
    """A supernet with the head of a task, whose weights and statistics all do something.

    With a section of None the head is timm's.
    """
    backbone = dense_backbone(None if section is None else dense_task(section), **args)
    supernet = Supernet(backbone, SearchSpace.from_dict(space, backbone_shape(backbone)))
    with torch.no_grad():
        for parameter in supernet.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        for name, buffer in supernet.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                buffer.add_(0.2 * torch.rand_like(buffer))
    return supernet


def save_dense(folder, supernet, arch, section=None, **args):
    """Write the arch file and the weights of a subnet; returns both paths.

    Without a section the head is timm's.
    """
    file, weights = folder / "arch.yaml", folder / "subnet.safetensors"
    subnet = extract(supernet, arch)
    values = {**ARGS, "num_classes": subnet.num_classes, **args}
    save_arch(
        subnet.arch,
        file,
        shape=supernet.shape,
        backbone={"model": MODEL, "args": {k: _plain(v) for k, v in values.items()}},
        input={"size": [3, *values["img_size"]], "mean": [0.1] * 3, "std": [0.5] * 3},
        task=None if section is None else dense_task(section).section(),
    )
    save_weights(subnet, weights)
    return file, weights


def _plain(value):
    return list(value) if isinstance(value, tuple) else value


def plain_network(backbone):
    """The full network of a backbone, with whatever head it has."""
    shape = backbone_shape(backbone)
    return cut_subnet(backbone, shape, Arch.full(shape.depth))


def dense_images(count=4, seed=0, channels=3):
    return torch.randn(count, channels, *SIZE, generator=torch.Generator().manual_seed(seed))


def depth_maps(count=4, size=(32, 48), seed=0):
    """Depths of 1 to 9 m, with a tenth of the pixels unmeasured."""
    rng = torch.Generator().manual_seed(seed)
    depth = 1 + 8 * torch.rand(count, *size, generator=rng)
    return depth.where(torch.rand(depth.shape, generator=rng) > 0.1, torch.zeros(()))


def label_maps(count=4, size=(32, 48), seed=0):
    """Labels, with a tenth of the pixels void (255)."""
    rng = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES, (count, *size), generator=rng, dtype=torch.uint8)
    return labels.where(torch.rand(labels.shape, generator=rng) > 0.1, torch.tensor(255).byte())


def write_pairs(root, train=24, test=8, size=(32, 48), maps=("depth", "label")):
    """Write pairs into `rgb`, `depth` (16-bit PNG in mm) and `label`, with lists of names.

    An image is a wall: two planes that meet, the nearer the brighter. Names are SCENE_NUMBER, and
    four images have one scene.
    """
    rng = np.random.default_rng(0)
    height, width = size
    names = [f"{i // 4:02d}_{i:03d}" for i in range(train + test)]
    for folder in ("rgb", *maps):
        (root / folder).mkdir(parents=True)
    for name in names:
        columns = np.linspace(-1, 1, width) - rng.uniform(-0.6, 0.6)
        depth = rng.uniform(2, 3) + 5 * np.abs(columns)
        depth = np.broadcast_to(depth, size) * np.linspace(1.0, 0.8, height)[:, None]
        colour = (255 * (1 - depth / 10))[..., None] * rng.uniform(0.8, 1.0, 3)
        noise = rng.normal(0, 6, (*size, 3))
        Image.fromarray((colour + noise).clip(0, 255).astype(np.uint8)).save(
            root / f"rgb/{name}.png"
        )
        if "depth" in maps:
            millimetres = (1000 * depth).astype(np.uint16)
            Image.fromarray(millimetres).save(root / f"depth/{name}.png")
        if "label" in maps:
            labels = (depth / 2).astype(np.uint8).clip(0, CLASSES - 1)
            Image.fromarray(labels).save(root / f"label/{name}.png")
    for split, listed in (("train", names[:train]), ("test", names[train:])):
        (root / f"{split}.txt").write_text("".join(f"{name}\n" for name in listed))
    return {
        "name": "pairs",
        "root": str(root),
        "images": "rgb/*.png",
        "targets": "depth/*.png",
        "train": "train.txt",
        "test": "test.txt",
        "scale": 0.001,
        "scenes": r"^(\d+)_",
    }
