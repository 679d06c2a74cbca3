"""Stage one: the supernet."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from search.config import Config
from search.folder import RunFolder
from search.stages.setup import TRAINED, WEIGHTS, Setup, prepare
from space.errors import InputError
from supernet.model import Supernet
from supernet.pretrained import BackboneConfig, load_backbone
from supernet.training import train_supernet
from supernet.weights import load_weights, save_weights


def train(config: Config, file: Path | None) -> Supernet:
    """Train the supernet of a config, or load it where it is trained already.

    Raises:
        InputError: the config or the data is not right, or the folder holds another run.
    """
    folder = RunFolder(config, file)
    setup = prepare(config, folder)
    path = folder.claim("supernet", TRAINED)
    folder.store_split(setup.data.search_indices.tolist())
    weights = path / WEIGHTS
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
        held_out=setup.held_out(recipe.amp),
        teacher=_teacher(recipe.teacher, setup),
        folder=path,
        seed=config.seed,
    )
    save_weights(supernet, weights)
    return supernet


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
