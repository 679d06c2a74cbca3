"""Stage one: the supernet."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from search.config import Config, SupernetConfig
from search.folder import RunFolder
from search.lock import FolderLock
from search.processes import all_do, first_does
from search.stages.setup import TRAINED, WEIGHTS, Setup, prepare
from space.utils.errors import InputError
from supernet.backbones.load import load_backbone
from supernet.models.supernet import Supernet
from supernet.process_group import Processes
from supernet.training.train_supernet import train_supernet
from supernet.weights import load_weights, save_weights


def train(config: Config, file: Path | None) -> Supernet:
    """Train the supernet of a config, or load it where it is trained already.

    Processes that were launched together train it together, each with batches of its own.

    Raises:
        InputError: the config or the data is not right, or the folder holds another run.
    """
    folder, first = RunFolder(config, file), Processes.current().first
    setup = all_do(lambda: prepare(config, folder))
    weights = folder.stage("supernet") / WEIGHTS
    if first_does(weights.exists):
        first_does(lambda: folder.claim("supernet", TRAINED))
        load_weights(setup.supernet, weights)
        return setup.supernet.eval()
    teacher = all_do(lambda: _teacher(config, setup))
    first_does(lambda: folder.check("supernet", TRAINED))
    first_does(lambda: setup.check_images(folder))
    path = first_does(lambda: folder.claim("supernet", TRAINED))
    first_does(lambda: folder.store_split(setup.data.search_indices.tolist()))
    recipe = settled(config.supernet, setup.head_reset)
    with all_do(lambda: FolderLock(path) if first else nullcontext()):
        supernet = train_supernet(
            setup.supernet,
            setup.data.train,
            task=setup.task,
            recipe=recipe,
            held_out=setup.held_out(recipe.amp) if first else None,
            teacher=teacher,
            folder=path,
            seed=config.seed,
        )
        first_does(lambda: save_weights(supernet, weights))
    return supernet


def settled(recipe: SupernetConfig, head_reset: bool) -> SupernetConfig:
    """The recipe, with the epochs of the full network alone where none are given."""
    if recipe.full_epochs is not None:
        return recipe
    tenth = min(-(-recipe.epochs // 10), recipe.epochs - 1)
    return replace(recipe, full_epochs=tenth if head_reset else 0)


def _teacher(config: Config, setup: Setup) -> nn.Module | None:
    wanted = config.supernet.teacher
    if wanted is None:
        return None
    teacher: Any = load_backbone(wanted, setup.task, seed=0)
    if teacher.head_reset or not (wanted.checkpoint or wanted.pretrained):
        raise InputError(
            f"supernet.teacher: {wanted.model} must come with weights for the "
            f"{len(setup.task.classes)} classes of the data"
        )
    size, own = teacher.backbone.patch_embed.img_size, setup.supernet.patch_embed.img_size
    if tuple(size) != tuple(own):
        raise InputError(
            f"supernet.teacher: {wanted.model} takes images of {size}, the backbone {own}; "
            "set img_size in its args"
        )
    channels = teacher.backbone.in_chans
    if channels != setup.supernet.in_chans:
        raise InputError(
            f"supernet.teacher: {wanted.model} takes images of {channels} channels, the backbone "
            f"of {setup.supernet.in_chans}; set in_chans in its args"
        )
    for key in ("mean", "std"):
        expected = list(teacher.backbone.pretrained_cfg[key])
        # Whoever gives the data's own knows what both networks were trained with.
        if getattr(config.data.input, key) is None and setup.data.input[key] != expected:
            raise InputError(
                f"supernet.teacher: {wanted.model} takes images of {key} {expected}, the backbone "
                f"{setup.data.input[key]}; set data.input.{key}"
            )
    found: nn.Module = teacher.backbone.to(setup.device)
    return found
