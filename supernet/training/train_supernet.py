"""Training of the supernet by the sandwich rule."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from space.arch import Arch
from space.space import SearchSpace
from space.utils.atomic import make_folder
from space.utils.errors import InputError
from supernet.data.loaders import Batch, Batches, ShuffledBatches, UserBatches, all_batches
from supernet.evaluation import HeldOut
from supernet.models.supernet import Supernet
from supernet.operators.registry import token_operators
from supernet.process_group import Processes
from supernet.tasks.base import Task
from supernet.training.log import Journal
from supernet.training.recipe import SupernetRecipe
from supernet.training.sandwich import Sandwich, Teacher, draw_archs
from supernet.training.trainer import Trainer

RECALL_IMAGES = 256
# Learned modules whose update counts are printed, the least trained first.
MOST_SHOWN = 10


def train_supernet(
    supernet: Supernet,
    train: Any,
    *,
    task: Task,
    recipe: SupernetRecipe | None = None,
    held_out: Iterable[Any] | HeldOut | None = None,
    teacher: nn.Module | None = None,
    folder: str | Path | None = None,
    seed: int = 0,
    quiet: bool = False,
) -> Supernet:
    """Train all archs of the supernet's space together.

    Args:
        supernet: The supernet, on the device to train on.
        train: `open_data(...).train`, or your own loader of (images, targets).
        task: The task.
        recipe: The recipe.
        held_out: Batches of (images, targets), evaluated after each epoch.
        teacher: A network on the same device, to distil from.
        folder: Folder of checkpoint and log; the same call resumes from there. None writes nothing.
        seed: Seed of every random choice.
        quiet: Whether to print nothing.

    Returns:
        The supernet with the trained weights (averaged if the recipe has `ema`).

    Raises:
        InputError: The head does not fit the task, the folder holds another training, or a
            file cannot be written.
        KeyboardInterrupt: Ctrl-C or SIGTERM; the same call resumes from the last checkpoint.
    """
    recipe = recipe or SupernetRecipe()
    if not task.fits(supernet):
        raise InputError(
            f"the supernet's head has {supernet.num_classes} outputs, {task.needs}; "
            "reset the head before the supernet is built"
        )
    held_out = make_held_out(held_out, task, supernet, recipe.amp)
    path = make_optional_folder(folder)
    batches = make_batches(train)
    trainer = Trainer(
        supernet,
        task=task,
        recipe=recipe,
        batches=batches,
        step=_Step(_sandwich(supernet, task, recipe, teacher), recipe, batches.steps, seed),
        judge=_Judge(held_out, watched(supernet.space, recipe.watch)),
        journal=make_log(task, path, "supernet", _legend(task, recipe, held_out), quiet),
        folder=path,
        seed=seed,
    )
    trained = trainer.fit()
    trainer.journal.note(*_updates_line(trainer.position.module_updates))
    supernet.load_state_dict(trained.state_dict())
    return supernet.eval()


def make_held_out(
    given: Iterable[Any] | HeldOut | None, task: Task, model: nn.Module, amp: bool
) -> HeldOut | None:
    """Return held-out images on the model's device; a user's loader is read into memory."""
    if given is None:
        return None
    if not isinstance(given, HeldOut):
        device = next(model.parameters()).device
        given = HeldOut(all_batches(given, "held_out"), task, device, amp)
    return given


def describe_metric(task: Task, held_out: HeldOut | None) -> str:
    """Describe the columns of the task's first metric."""
    count = "" if held_out is None else f" ({len(held_out):,} images)"
    return f"{task.metrics[0].name} on the search split{count}"


def make_optional_folder(folder: str | Path | None) -> Path | None:
    """Make the folder, unless it is None."""
    return None if folder is None else make_folder(Path(folder))


def make_log(task: Task, folder: Path | None, title: str, legend: str, quiet: bool) -> Journal:
    """Make the training log; only the main process writes and prints."""
    first, metric = Processes.current().is_main, task.metrics[0]
    shares = [each.judged.name for each in token_operators() if each.judged is not None]
    shown = {metric.name: metric.unit, **dict.fromkeys(shares, "%")}
    return Journal(folder if first else None, title, legend, quiet or not first, shown)


def make_batches(train: Any) -> Batches:
    """Return `ShuffledBatches` as they are; wrap a user's loader."""
    return train if isinstance(train, ShuffledBatches) else UserBatches(train)


def watched(space: SearchSpace, count: int) -> dict[str, Arch]:
    """Return the archs to log metrics of: largest, smallest, and `count` between them in MACs."""
    bands, rng = space.mac_bands, np.random.default_rng(0)
    archs = {"largest": space.largest(), "smallest": space.smallest()}
    full = bands.high
    edges = np.linspace(bands.low, bands.high, count + 2)
    for low, high in zip(edges[1:-1] * 0.97, edges[1:-1] * 1.03, strict=True):
        if bands.count(low, high).value:
            archs[f"{(low + high) / 2 / full:.0%}"] = space.sample(rng, macs=(low, high))
    return archs


def _legend(task: Task, recipe: SupernetRecipe, held_out: HeldOut | None) -> str:
    """Explain the columns of the log."""
    alone = f"the full network learns alone for {recipe.full_epochs} epochs, then all archs; "
    parts = [
        f"{alone if recipe.full_epochs else ''}{describe_metric(task, held_out)}, of the largest "
        "and the smallest arch and of some with so many per cent of the MACs"
    ]
    judged = (each.judged for each in token_operators())
    return "; ".join(parts + [f"{each.name}: {each.meaning}" for each in judged if each])


def _updates_line(counts: Mapping[str, int]) -> list[str]:
    """Format how often each learned module was updated, in at most one line."""
    if not counts:
        return []
    order = sorted(counts, key=lambda name: counts[name])
    shown = ", ".join(f"{name} {counts[name]:,}" for name in order[:MOST_SHOWN])
    more = f", ..., {order[-1]} {counts[order[-1]]:,}" if len(order) > MOST_SHOWN else ""
    return [f"updates of each learned module: {shown}{more}"]


def _sandwich(
    supernet: Supernet, task: Task, recipe: SupernetRecipe, teacher: nn.Module | None
) -> Sandwich:
    return Sandwich(
        supernet,
        task,
        amp=recipe.amp,
        selector_share=recipe.selector_share,
        teacher=None if teacher is None else make_teacher(teacher),
        teacher_share=recipe.teacher_share,
    )


@dataclass(frozen=True)
class _Step:
    """One batch of the sandwich; in the first epochs of the full network alone."""

    sandwich: Sandwich
    recipe: SupernetRecipe
    batches: int
    seed: int

    def __call__(self, batch: Batch, step: int, scale: float) -> dict[str, Tensor]:
        archs: list[Arch] = []
        updates = self.batches // self.recipe.accumulate
        if step >= (self.recipe.full_epochs or 0) * updates:
            space = self.sandwich.supernet.space
            archs = draw_archs(space, self.seed, step, self.recipe.random_archs)
        return self.sandwich(batch, archs, scale)


class _Judge:
    """Evaluates the watched archs and the operators' weights on the held-out images."""

    def __init__(self, held_out: HeldOut | None, archs: dict[str, Arch]) -> None:
        self.held_out = held_out
        self.archs = archs

    def __call__(self, model: nn.Module) -> dict[str, float]:
        if self.held_out is None:
            return {}
        assert isinstance(model, Supernet)
        found: dict[str, float] = {}
        for name, arch in self.archs.items():
            metrics = self.held_out.measure(partial(model, arch=arch))
            found |= {f"{metric}/{name}": value for metric, value in metrics.items()}
        count = -(-RECALL_IMAGES // len(self.held_out.batches[0].targets))
        images = [batch.images for batch in islice(self.held_out.batches, count)]
        for operator in token_operators():
            if operator.judged is not None:
                shares = operator.judge(model, images)
                found |= {f"{operator.judged.name}/{name}": x for name, x in shares.items()}
        return found


def make_teacher(teacher: nn.Module) -> Teacher:
    """Return a teacher: a frozen copy of a network in evaluation mode."""
    teacher = copy.deepcopy(teacher).eval().requires_grad_(False)

    def logits(images: Tensor) -> Tensor:
        with torch.no_grad():
            found: Tensor = teacher(images)
        return found

    return logits
