"""From your own model, loader and metric to a retrained subnet, without a config.

    python examples/own_data.py

The data here is synthetic: stripes, whose class is their angle. Replace them by your own loaders of
(images, targets).
"""

import argparse
import math
import tempfile
from pathlib import Path

import torch
from timm.models.vision_transformer import VisionTransformer
from torch.utils.data import DataLoader, TensorDataset

from search import run_search
from space import SearchSpace, load_arch, macs, save_arch
from supernet import (
    Classification,
    RetrainRecipe,
    Supernet,
    SupernetRecipe,
    backbone_shape,
    create_subnet,
    extract,
    retrain,
    save_weights,
    train_supernet,
)

CLASSES = ("flat", "rising", "upright", "falling")
SIZE = 32


def make_stripes(count: int, seed: int) -> DataLoader:
    """Return a loader of noisy stripes: images (32, 3, 32, 32), targets (32,)."""
    rng = torch.Generator().manual_seed(seed)
    targets = torch.randint(len(CLASSES), (count,), generator=rng)
    angle = targets[:, None, None] * math.pi / len(CLASSES)
    y, x = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    phase = 6.3 * torch.rand(count, 1, 1, generator=rng)
    waves = torch.sin(0.9 * (x * torch.sin(angle) + y * torch.cos(angle)) + phase)
    noise = torch.randn(count, 3, SIZE, SIZE, generator=rng)
    return DataLoader(TensorDataset(waves[:, None] + 0.7 * noise, targets), 32)


def accuracy(logits: torch.Tensor, targets: torch.Tensor) -> dict[str, float]:
    """Return metrics by name, each of which can be an objective."""
    return {"accuracy": (logits.argmax(1) == targets).float().mean().item()}


def main(folder: Path, epochs: int, trials: int) -> None:
    """Train, search, retrain, save and load a subnet."""
    train, held_out, test = make_stripes(640, 0), make_stripes(256, 1), make_stripes(256, 2)
    torch.manual_seed(0)
    model = {"img_size": SIZE, "patch_size": 4, "embed_dim": 48, "depth": 6, "num_heads": 3}
    backbone = VisionTransformer(**model, num_classes=len(CLASSES))
    shape = backbone_shape(backbone)
    space = SearchSpace.from_dict(
        {
            "pool": {"kinds": ["avg2d"], "grids": [6, 4], "max_pools": 1},
            "share": {"max_run": 1},
            "skip": {"ratios": [0.5], "selectors": ["map"]},
        },
        shape,
    )
    task = Classification(CLASSES)
    supernet = train_supernet(
        Supernet(backbone, space),
        train,
        task=task,
        recipe=SupernetRecipe(epochs=epochs, random_archs=1),
        held_out=held_out,
        folder=folder / "supernet",
    )

    half = 0.5 * macs(space.largest(), shape)
    front = run_search(
        supernet,
        loader=held_out,
        metric=accuracy,
        objectives=("accuracy=max", "macs"),
        budget={"macs": half},
        trials=trials,
        folder=folder / "search",
    )
    best = front.best(macs=half)
    assert best is not None
    print(f"best of {front.evaluations}: {best.metrics}")

    subnet = retrain(
        extract(supernet, best.arch),
        train,
        task=task,
        recipe=RetrainRecipe(epochs=epochs),
        teacher=extract(supernet, space.largest()),
        folder=folder / "retrain",
    )
    args = {**model, "num_classes": len(CLASSES)}
    backbone_entry = {"model": "vit_tiny_patch16_224", "args": args}
    save_arch(best.arch, folder / "arch.yaml", shape=shape, backbone=backbone_entry)
    save_weights(subnet, folder / "subnet.safetensors")

    again = create_subnet(folder / "arch.yaml", folder / "subnet.safetensors").eval()
    assert load_arch(folder / "arch.yaml") == best.arch
    with torch.no_grad():
        logits = torch.cat([again(images) for images, _ in test])
    targets = torch.cat([targets for _, targets in test])
    share = macs(best.arch, shape) / macs(space.largest(), shape)
    print(f"at {share:.0%} of the MACs, on the test data: {accuracy(logits, targets)}")
    print(f"arch file, weights, supernet and search are in {folder}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=None)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--trials", type=int, default=40)
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="tokennas-"))
    main(folder, options.epochs, options.trials)
