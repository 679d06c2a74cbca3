"""Retraining of one subnet, with or without distillation."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from space.utils.atomic import make_folder
from supernet.evaluation import HeldOut
from supernet.models.elastic import ElasticViT
from supernet.tasks.base import Task
from supernet.training.recipe import RetrainRecipe
from supernet.training.resume import Start, start_training
from supernet.training.sandwich import LabelStep, freeze
from supernet.training.train_supernet import (
    check_head,
    describe_metric,
    make_held_out,
    make_log,
)
from supernet.training.trainer import Trainer


def retrain(
    subnet: ElasticViT,
    train: Any,
    *,
    task: Task,
    recipe: RetrainRecipe | None = None,
    held_out: Iterable[Any] | HeldOut | None = None,
    teacher: nn.Module | None = None,
    folder: str | Path | None = None,
    seed: int = 0,
    title: str = "retrain",
    quiet: bool = False,
    start: Start | None = None,
) -> ElasticViT:
    """Retrain one subnet.

    Args:
        subnet: Result of `extract` or `create_subnet`, with initial weights, on its device.
        train: `open_data(...).train`, or your own loader of (images, targets).
        task: The task.
        recipe: The recipe.
        held_out: Batches of (images, targets) to evaluate on after each epoch; None for none.
        teacher: A network on the same device, to distil from.
        folder: Folder of checkpoint and log, to resume from; None to write nothing.
        seed: Seed of every random choice.
        title: Title of the log and the progress bar.
        quiet: Whether to print nothing.
        start: Result of `start_training` for this folder, where its decision on autocast is needed
            before; None to call it here.

    Returns:
        The same subnet, with the trained weights (averaged if the recipe has `ema`).

    Raises:
        InputError: The head does not fit the task, the teacher needs an arch, the folder holds
            another training, or a file cannot be written.
        KeyboardInterrupt: Ctrl-C or SIGTERM; the same call resumes from the last checkpoint.
    """
    settings = recipe or RetrainRecipe()
    check_head(task, subnet, "subnet", "call task.reset_head(subnet, seed) first")
    path, frozen = None if folder is None else Path(folder), freeze(teacher)
    start = start or start_training(settings.amp, subnet, path)
    settings = replace(settings, amp=start.autocast.on)
    labels = LabelStep(subnet, task, settings, frozen)
    held_out_images = make_held_out(held_out, task, subnet, start.autocast.on)
    if path is not None:
        make_folder(path)
    trainer = Trainer(
        subnet,
        train,
        task=task,
        recipe=settings,
        step=lambda batch, _epoch, _step, scale: labels.learn_labels(batch, "subnet", scale)[1],
        evaluate=partial(_evaluate, held_out_images),
        log=make_log(task, path, title, describe_metric(task, held_out_images), quiet),
        start=start,
        seed=seed,
    )
    subnet.load_state_dict(trainer.fit().state_dict())
    return subnet.eval()


def _evaluate(held_out: HeldOut | None, model: nn.Module) -> dict[str, float]:
    """Compute the metrics of the subnet, by their names in the log."""
    metrics = {} if held_out is None else held_out.measure(model)
    return {f"{name}/subnet": value for name, value in metrics.items()}
