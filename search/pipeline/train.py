"""Stage one: training of the supernet."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

from torch import nn

from search.pipeline.context import TRAINED, WEIGHTS, RunContext
from search.utils.file_lock import FolderLock
from search.utils.launcher import run_on_all, run_on_main
from space.utils.errors import InputError
from supernet.backbones.load import load_backbone
from supernet.process_group import Processes
from supernet.training.train_supernet import train_supernet
from supernet.weights import save_weights


def train(run: RunContext) -> None:
    """Train the supernet of a config, unless it is trained already.

    Processes of a launcher such as torchrun train it data parallel.

    Raises:
        InputError: The config or the data is wrong, or the folder holds results of other values.
    """
    config, folder, first = run.config, run.folder, Processes.current().is_main
    run_on_all(run.open)
    weights = folder.path / "supernet" / WEIGHTS
    if run_on_main(weights.exists):
        run_on_main(lambda: folder.claim("supernet", TRAINED))
        run_on_all(run.load_trained)
        return
    teacher = run_on_all(lambda: _teacher(run))
    run_on_main(lambda: folder.check("supernet", TRAINED))
    run_on_main(run.check_images)
    path = run_on_main(lambda: folder.claim("supernet", TRAINED))
    run_on_main(lambda: folder.store_split(run.data.search_indices.tolist()))
    recipe = run.supernet_recipe
    with run_on_all(lambda: FolderLock(path) if first else nullcontext()):
        supernet = train_supernet(
            run.supernet,
            run.data.train,
            task=run.task,
            recipe=recipe,
            held_out=run.held_out(recipe.amp) if first else None,
            teacher=teacher,
            folder=path,
            seed=config.seed,
        )
        run_on_main(lambda: save_weights(supernet, weights))


def _teacher(run: RunContext) -> nn.Module | None:
    wanted = run.config.supernet.teacher
    if wanted is None:
        return None
    loaded = load_backbone(wanted, run.task, seed=0)
    teacher: Any = loaded.backbone
    what = f"supernet.teacher: {wanted.model}"
    if loaded.head_reset or not (wanted.checkpoint or wanted.pretrained):
        raise InputError(f"{what} must come with weights for {run.task.needs}")
    supernet, look = run.supernet, teacher.pretrained_cfg
    expected = {
        "img_size": teacher.patch_embed.img_size,
        "in_chans": teacher.in_chans,
        "mean": list(look["mean"]),
        "std": list(look["std"]),
    }
    own = {"img_size": supernet.patch_embed.img_size, "in_chans": supernet.in_chans}
    own |= run.data.input
    for key, value in expected.items():
        # A value given in the config is taken to suit both networks.
        if value != own[key] and getattr(run.config.data.input, key, None) is None:
            raise InputError(
                f"{what} takes images of {key} {value}, the backbone {own[key]}; set {key} in its "
                "args, or in data.input"
            )
    return loaded.backbone.to(run.device)
