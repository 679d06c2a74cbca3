"""Stage one: training of the supernet."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

from torch import nn

from search.pipeline.check import check_search
from search.pipeline.context import SUPERNET_SECTIONS, WEIGHTS, RunContext
from search.utils.console import print_line
from search.utils.file_lock import FolderLock
from search.utils.launcher import run_on_all, run_on_main
from space.arch import Arch
from space.utils.errors import InputError
from supernet.backbones.load import load_backbone
from supernet.backbones.vit import backbone_shape
from supernet.config import InputConfig
from supernet.data.splits import resolve_input
from supernet.models.subnet import cut_subnet
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
    run_on_all(lambda: check_search(run))
    teacher = run_on_all(lambda: _load_teacher(run))
    run_on_main(lambda: folder.check("supernet", SUPERNET_SECTIONS))
    run_on_main(run.check_images)
    path = run_on_main(lambda: folder.claim("supernet", SUPERNET_SECTIONS))
    indices = run.data.search_indices.tolist()
    run_on_main(lambda: folder.store_split(indices, run.images_digest))
    if is_main:
        if run.has_new_head:
            reason = f"the backbone's weights have none for the task {run.task.name}"
            print_line(run.console, f"new head: {reason}")
        for line in run.space.left_out():
            print_line(run.console, line)
    recipe = run.supernet_recipe
    with run_on_all(lambda: FolderLock(path) if is_main else nullcontext()):
        supernet = train_supernet(
            run.supernet,
            run.data.train,
            task=run.task,
            recipe=recipe,
            held_out=run.search_batches() if is_main else None,
            teacher=teacher,
            folder=path,
            seed=config.seed,
        )
        run_on_main(lambda: save_weights(supernet, weights, run.task.metadata))


def _load_teacher(run: RunContext) -> nn.Module | None:
    config = run.config.supernet.teacher
    if config is None:
        return None
    place = f"supernet.teacher: {config.model}"
    try:
        loaded = load_backbone(config, run.task, seed=0)
    except InputError as error:
        raise InputError(f"supernet.teacher: {error}") from None
    teacher: Any = loaded.backbone
    if loaded.head_reset or not (config.checkpoint or config.pretrained):
        raise InputError(f"{place} must come with weights for {run.task.needs}")
    supernet: Any = run.supernet
    for key, theirs, ours in (
        ("img_size", teacher.patch_embed.img_size, supernet.patch_embed.img_size),
        ("in_chans", teacher.in_chans, supernet.in_chans),
    ):
        if theirs != ours:
            raise InputError(
                f"{place} takes images of {key} {theirs}, the backbone {ours}; set {key} in its "
                "args"
            )
    teacher_input = resolve_input(InputConfig(), teacher)
    for key in ("mean", "std"):
        theirs, ours = list(teacher_input[key]), run.data.input[key]
        # A value given in the config is taken to suit both networks.
        if theirs != ours and getattr(run.config.data.input, key) is None:
            raise InputError(
                f"{place} takes images of {key} {theirs}, the backbone {ours}; set "
                f"data.input.{key}, if one value suits both"
            )
    # As the full arch, whose output is timm's, or that of a head of the task.
    shape = backbone_shape(teacher)
    return cut_subnet(teacher, shape, Arch.full(shape.depth)).to(run.device)
