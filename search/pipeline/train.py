"""Stage one: training of the supernet."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

from torch import nn

from search.pipeline.context import SUPERNET_SECTIONS, WEIGHTS, RunContext
from search.utils.file_lock import FolderLock
from search.utils.launcher import run_on_all, run_on_main
from space.utils.errors import InputError
from supernet.backbones.load import load_backbone
from supernet.config import InputConfig
from supernet.data.splits import resolve_input
from supernet.process_group import Processes
from supernet.training.train_supernet import train_supernet
from supernet.weights import save_weights


def train(run: RunContext) -> None:
    """Train the supernet of a config, unless it is trained already.

    Under a launcher such as torchrun, the processes train data parallel.

    Raises:
        InputError: The config or the data is wrong, or the folder holds results of other values.
    """
    config, folder, is_main = run.config, run.folder, Processes.current().is_main
    run_on_all(run.open)
    weights = folder.path / "supernet" / WEIGHTS
    if run_on_main(weights.exists):
        run_on_main(lambda: folder.claim("supernet", SUPERNET_SECTIONS))
        run_on_all(run.load_trained)
        return
    teacher = run_on_all(lambda: _load_teacher(run))
    run_on_main(lambda: folder.check("supernet", SUPERNET_SECTIONS))
    run_on_main(run.check_images)
    path = run_on_main(lambda: folder.claim("supernet", SUPERNET_SECTIONS))
    run_on_main(lambda: folder.store_split(run.data.search_indices.tolist()))
    recipe = run.supernet_recipe
    with run_on_all(lambda: FolderLock(path) if is_main else nullcontext()):
        supernet = train_supernet(
            run.supernet,
            run.data.train,
            task=run.task,
            recipe=recipe,
            held_out=run.load_search_split(recipe.amp) if is_main else None,
            teacher=teacher,
            folder=path,
            seed=config.seed,
        )
        run_on_main(lambda: save_weights(supernet, weights))


def _load_teacher(run: RunContext) -> nn.Module | None:
    config = run.config.supernet.teacher
    if config is None:
        return None
    loaded = load_backbone(config, run.task, seed=0)
    teacher: Any = loaded.backbone
    place = f"supernet.teacher: {config.model}"
    if loaded.head_reset or not (config.checkpoint or config.pretrained):
        raise InputError(f"{place} must come with weights for {run.task.needs}")
    ours, theirs = (_describe_input(net) for net in (run.supernet, teacher))
    ours |= {key: run.data.input[key] for key in ("mean", "std")}
    for key, value in theirs.items():
        # A value given in the config is taken to suit both networks.
        if value != ours[key] and getattr(run.config.data.input, key, None) is None:
            way = (
                f"data.input.{key}, if one value suits both"
                if key in ("mean", "std")
                else (f"{key} in its args")
            )
            raise InputError(
                f"{place} takes images of {key} {value}, the backbone {ours[key]}; set {way}"
            )
    return loaded.backbone.to(run.device)


def _describe_input(net: Any) -> dict[str, Any]:
    """Describe the images that a network takes."""
    resolved = resolve_input(InputConfig(), net)
    means = {key: list(resolved[key]) for key in ("mean", "std")}
    return {"img_size": net.patch_embed.img_size, "in_chans": net.in_chans, **means}
