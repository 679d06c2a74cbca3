"""Retraining of one subnet, with or without distillation."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from space.utils.errors import InputError
from supernet.data.loaders import Batch
from supernet.evaluation import HeldOut
from supernet.models.elastic import ElasticViT
from supernet.operators.registry import auxiliary_losses
from supernet.precision import autocast
from supernet.tasks.base import Task
from supernet.training.recipe import RetrainRecipe
from supernet.training.sandwich import Teacher, make_observer, read_losses, select_images
from supernet.training.train_supernet import (
    describe_metric,
    make_batches,
    make_held_out,
    make_log,
    make_optional_folder,
    make_teacher,
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
) -> ElasticViT:
    """Retrain one subnet.

    Args:
        subnet: Result of `extract` or `create_subnet`, with initial weights, on its device.
        train: `open_data(...).train`, or your own loader of (images, targets).
        task: The task.
        recipe: The recipe.
        held_out: Batches of (images, targets), evaluated after each epoch.
        teacher: A network on the same device, to distil from.
        folder: Folder of checkpoint and log; the same call resumes from there. None writes nothing.
        seed: Seed of every random choice.
        title: Title of the progress.
        quiet: Whether to print nothing.

    Returns:
        The subnet with the trained weights (averaged if the recipe has `ema`).

    Raises:
        InputError: The head does not fit the task, the folder holds another training, or a
            file cannot be written.
        KeyboardInterrupt: Ctrl-C or SIGTERM; the same call resumes from the last checkpoint.
    """
    recipe = recipe or RetrainRecipe()
    if not task.fits(subnet):
        raise InputError(
            f"the subnet's head has {subnet.num_classes} outputs, {task.needs}; "
            "call subnet.reset_classifier first"
        )
    held_out = make_held_out(held_out, task, subnet, recipe.amp)
    path = make_optional_folder(folder)
    trainer = Trainer(
        subnet,
        task=task,
        recipe=recipe,
        batches=make_batches(train),
        step=_Step(subnet, task, recipe, None if teacher is None else make_teacher(teacher)),
        judge=_Judge(held_out),
        journal=make_log(task, path, title, describe_metric(task, held_out), quiet),
        folder=path,
        seed=seed,
    )
    subnet.load_state_dict(trainer.fit().state_dict())
    return subnet.eval()


@dataclass(frozen=True)
class _Step:
    """Loss and backward pass of one batch, on labels and the teacher's logits."""

    subnet: ElasticViT
    task: Task
    recipe: RetrainRecipe
    teacher: Teacher | None

    def __call__(self, batch: Batch, step: int, scale: float) -> dict[str, Tensor]:
        share = self.recipe.teacher_share
        rows = select_images(batch, self.recipe.selector_share)
        auxiliaries = auxiliary_losses(self.subnet, rows)
        with autocast(batch.images.device, self.recipe.amp):
            observer = make_observer(auxiliaries)
            features = self.subnet.forward_features(batch.images, observe=observer)
            logits = self.subnet.forward_head(features)
            loss = self.task.loss(logits, batch.targets)
            if self.teacher is not None:
                soft = self.task.distillation(logits, self.teacher(batch.images))
                loss = (1 - share) * loss + share * soft
        (loss * scale).backward()
        losses = {"subnet": [loss.detach()]} | read_losses(auxiliaries)
        return {kind: torch.stack(each).mean() for kind, each in losses.items()}


@dataclass(frozen=True)
class _Judge:
    """Evaluates the subnet on the held-out images."""

    held_out: HeldOut | None

    def __call__(self, model: nn.Module) -> dict[str, float]:
        if self.held_out is None:
            return {}
        return {f"{name}/subnet": value for name, value in self.held_out.measure(model).items()}
