"""Retraining one subnet: inherited weights or others, with or without distillation."""

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
from supernet.tasks.classification import Classification
from supernet.training.recipe import RetrainRecipe
from supernet.training.sandwich import Teacher, learning_rows, losses_of, observer_of
from supernet.training.train_supernet import (
    as_batches,
    as_held_out,
    as_journal,
    frozen,
    made_folder,
    top1_of,
)
from supernet.training.trainer import Trainer


def retrain(
    subnet: ElasticViT,
    train: Any,
    *,
    task: Classification,
    recipe: RetrainRecipe | None = None,
    held_out: Iterable[Any] | HeldOut | None = None,
    teacher: nn.Module | None = None,
    folder: str | Path | None = None,
    seed: int = 0,
    title: str = "retrain",
    quiet: bool = False,
) -> ElasticViT:
    """Train one subnet.

    Args:
        subnet: of `extract` or `create_subnet`, with the weights to begin with, on its device.
        train: `open_data(...).train`, or your own loader of (images, targets).
        task: what it is trained for.
        recipe: how.
        held_out: batches of (images, targets), to show metrics on after each epoch.
        teacher: a network on the same images and device, to distil from.
        folder: where checkpoint and log go; the same call goes on from there. None keeps nothing.
        seed: of everything random.
        title: shown beside the progress.
        quiet: show nothing.

    Returns:
        The subnet with the trained weights (averaged, where the recipe says so).

    Raises:
        InputError: the head is not of the task's classes, the folder holds another training, or a
            file cannot be written.
        KeyboardInterrupt: Ctrl-C or SIGTERM; the same call goes on from the checkpoint it left.
    """
    recipe = recipe or RetrainRecipe()
    if not task.fits(subnet):
        raise InputError(
            f"the subnet's head has {subnet.num_classes} outputs, the data {len(task.classes)} "
            "classes; call subnet.reset_classifier first"
        )
    held_out = as_held_out(held_out, task, subnet, recipe.amp)
    path = made_folder(folder)
    trainer = Trainer(
        subnet,
        task=task,
        recipe=recipe,
        batches=as_batches(train),
        step=_Step(subnet, task, recipe, None if teacher is None else frozen(teacher)),
        judge=_Judge(held_out),
        journal=as_journal(path, title, top1_of(held_out), quiet),
        folder=path,
        seed=seed,
    )
    subnet.load_state_dict(trainer.fit().state_dict())
    return subnet.eval()


@dataclass(frozen=True)
class _Step:
    """One batch: labels, and the teacher's soft labels."""

    subnet: ElasticViT
    task: Classification
    recipe: RetrainRecipe
    teacher: Teacher | None

    def __call__(self, batch: Batch, step: int, scale: float) -> dict[str, Tensor]:
        share = self.recipe.teacher_share
        rows = learning_rows(batch, self.recipe.selector_share)
        auxiliaries = auxiliary_losses(self.subnet, rows)
        with autocast(batch.images.device, self.recipe.amp):
            observer = observer_of(auxiliaries)
            features = self.subnet.forward_features(batch.images, observe=observer)
            logits = self.subnet.forward_head(features)
            loss = self.task.loss(logits, batch.targets)
            if self.teacher is not None:
                soft = self.task.distillation(logits, self.teacher(batch.images))
                loss = (1 - share) * loss + share * soft
        (loss * scale).backward()
        losses = {"subnet": [loss.detach()]} | losses_of(auxiliaries)
        return {kind: torch.stack(each).mean() for kind, each in losses.items()}


@dataclass(frozen=True)
class _Judge:
    """Metrics on the held-out images."""

    held_out: HeldOut | None

    def __call__(self, model: nn.Module) -> dict[str, float]:
        if self.held_out is None:
            return {}
        return {f"{name}/subnet": value for name, value in self.held_out.measure(model).items()}
