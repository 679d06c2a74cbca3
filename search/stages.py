"""The stages of a run: each takes a config, goes on where it stopped, and leaves files."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from search.config import Config
from search.folder import RunFolder
from space.errors import InputError
from space.space import SearchSpace
from supernet.backbone import backbone_shape
from supernet.data import Data, open_data
from supernet.evaluation import HeldOut
from supernet.model import Supernet
from supernet.pretrained import BackboneConfig, load_backbone
from supernet.sources import open_sources
from supernet.task import Classification
from supernet.training import train_supernet
from supernet.weights import load_weights, save_weights

TRAINED = ("backbone", "data", "space", "supernet")


@dataclass(frozen=True)
class Setup:
    """What the stages of a run work with.

    Args:
        task: what the networks are trained and judged for.
        data: the splits.
        supernet: with the backbone's weights, on the device.
        head_reset: whether the backbone's weights know other classes than the data.
        device: where everything runs.
    """

    task: Classification
    data: Data
    supernet: Supernet
    head_reset: bool
    device: torch.device


def prepare(config: Config, folder: RunFolder) -> Setup:
    """Open data and backbone, and check all that can be checked before long work starts.

    Raises:
        InputError: what is wrong, where, and what would be right.
    """
    device = find_device(config.device)
    sources = open_sources(config.data.dataset)
    augment = config.data.augment
    task = Classification(
        sources[0].classes,
        augment.smoothing,
        augment.mixup,
        augment.cutmix,
        augment.mix_prob,
        augment.switch_prob,
    )
    task.check_batch(config.data.batch)
    backbone, head_reset = load_backbone(config.backbone, task, config.seed)
    space = SearchSpace.from_dict(config.space, backbone_shape(backbone))
    data = open_data(config.data, backbone, config.seed, folder.split(), sources)
    supernet = Supernet(backbone, space).to(device)
    return Setup(task, data, supernet, head_reset, device)


def train(config: Config, file: Path | None) -> Supernet:
    """Train the supernet of a config, or load it where it is trained already.

    Raises:
        InputError: the config or the data is not right, or the folder holds another run.
    """
    folder = RunFolder(config, file)
    setup = prepare(config, folder)
    path = folder.claim("supernet", TRAINED)
    folder.store_split(setup.data.search_indices.tolist())
    weights = path / "supernet.safetensors"
    if weights.exists():
        load_weights(setup.supernet, weights)
        return setup.supernet.eval()
    recipe = config.supernet
    if recipe.full_epochs is None and setup.head_reset:
        recipe = replace(recipe, full_epochs=min(-(-recipe.epochs // 10), recipe.epochs - 1))
    supernet = train_supernet(
        setup.supernet,
        setup.data.train,
        task=setup.task,
        recipe=recipe,
        held_out=HeldOut(setup.data.search, setup.task, setup.device, recipe.amp),
        teacher=_teacher(recipe.teacher, setup),
        folder=path,
        seed=config.seed,
    )
    save_weights(supernet, weights)
    return supernet


def find_device(name: str) -> torch.device:
    """The device of that name; `auto` is a GPU where there is one.

    Raises:
        InputError: there is no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError):
        raise InputError(f"device: {name!r} is not there; give auto, cpu, cuda or cuda:N") from None
    return device


def _teacher(config: BackboneConfig | None, setup: Setup) -> nn.Module | None:
    if config is None:
        return None
    teacher: Any = load_backbone(config, setup.task, seed=0)
    if teacher.head_reset or not (config.checkpoint or config.pretrained):
        raise InputError(
            f"supernet.teacher: {config.model} must come with weights for the "
            f"{len(setup.task.classes)} classes of the data"
        )
    size, own = teacher.backbone.patch_embed.img_size, setup.supernet.patch_embed.img_size
    if tuple(size) != tuple(own):
        raise InputError(
            f"supernet.teacher: {config.model} takes images of {size}, the backbone {own}; "
            "set img_size in its args"
        )
    found: nn.Module = teacher.backbone.to(setup.device)
    return found
