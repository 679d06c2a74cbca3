"""Training of the supernet by the sandwich rule."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from space.arch import Arch
from space.space import SearchSpace
from space.utils.atomic import make_folder
from space.utils.errors import InputError
from supernet.data.loaders import Batch, all_batches
from supernet.evaluation import HeldOut
from supernet.models.supernet import Supernet
from supernet.operators.registry import token_operators
from supernet.process_group import Processes
from supernet.tasks.base import Task
from supernet.training.log import TrainingLog
from supernet.training.recipe import SupernetRecipe
from supernet.training.sandwich import Sandwich, draw_archs, freeze
from supernet.training.trainer import Step, Trainer

RECALL_IMAGES = 256


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
        folder: Folder of checkpoint and log, to resume from; None to write nothing.
        seed: Seed of every random choice.
        quiet: Whether to print nothing.

    Returns:
        The supernet with the trained weights (averaged if the recipe has `ema`).

    Raises:
        InputError: The head does not fit the task, the teacher is a supernet, the folder holds
            another training, or a file cannot be written.
        KeyboardInterrupt: Ctrl-C or SIGTERM; the same call resumes from the last checkpoint.
    """
    recipe = recipe or SupernetRecipe()
    if not task.fits(supernet):
        raise InputError(
            f"the supernet's head has {supernet.num_classes} outputs, {task.needs}; "
            "reset the head before the supernet is built"
        )
    sandwich = Sandwich(supernet, task, recipe, freeze(teacher))
    held_out = make_held_out(held_out, task, supernet, recipe.amp)
    path = None if folder is None else make_folder(Path(folder))
    trainer = Trainer(
        supernet,
        train,
        task=task,
        recipe=recipe,
        step=_make_step(sandwich, seed),
        evaluate=partial(_evaluate, held_out, select_watched_archs(supernet.space, recipe.watch)),
        log=make_log(task, path, "supernet", _make_legend(task, recipe, held_out), quiet),
        folder=path,
        seed=seed,
    )
    trained = trainer.fit()
    updates = sorted(trainer.position.module_updates.items(), key=itemgetter(1))
    if updates:
        counts = ", ".join(f"{name} {count:,}" for name, count in updates)
        trainer.log.print_lines(f"updates of each learned module: {counts}")
    supernet.load_state_dict(trained.state_dict())
    return supernet.eval()


def make_held_out(
    held_out: Iterable[Any] | HeldOut | None, task: Task, model: nn.Module, amp: bool
) -> HeldOut | None:
    """Make held-out images on the model's device; a user's loader is read into memory."""
    if held_out is None or isinstance(held_out, HeldOut):
        return held_out
    device = next(model.parameters()).device
    return HeldOut(all_batches(held_out, "held_out"), task, device, amp)


def make_log(task: Task, folder: Path | None, title: str, legend: str, quiet: bool) -> TrainingLog:
    """Make the training log; only the main process writes and prints."""
    is_main, metric = Processes.current().is_main, task.metrics[0]
    shares = [each.metric.name for each in token_operators() if each.metric is not None]
    units = {metric.name: metric.unit, **dict.fromkeys(shares, "%")}
    return TrainingLog(folder if is_main else None, title, legend, quiet or not is_main, units)


def describe_metric(task: Task, held_out: HeldOut | None) -> str:
    """Describe the log's columns of the task's primary metric."""
    count = "" if held_out is None else f" ({len(held_out):,} images)"
    return f"{task.metrics[0].name} on the search split{count}"


def select_watched_archs(space: SearchSpace, count: int) -> dict[str, Arch]:
    """Select the archs to log metrics of: largest, smallest, and `count` between them in MACs."""
    bands, rng = space.mac_bands, np.random.default_rng(0)
    archs = {"largest": space.largest(), "smallest": space.smallest()}
    edges = np.linspace(bands.low, bands.high, count + 2)
    for low, high in zip(edges[1:-1] * 0.97, edges[1:-1] * 1.03, strict=True):
        if bands.count(low, high).value:
            archs[f"{(low + high) / 2 / bands.high:.0%}"] = space.sample(rng, macs=(low, high))
    return archs


def _make_step(sandwich: Sandwich, seed: int) -> Step:
    """Make the function that trains on a batch; in the first epochs the full network alone."""
    recipe, space = sandwich.recipe, sandwich.model.space

    def train(batch: Batch, epoch: int, step: int, scale: float) -> dict[str, Tensor]:
        full_only = epoch < (recipe.full_epochs or 0)
        archs = [] if full_only else draw_archs(space, seed, step, recipe.random_archs)
        return sandwich(batch, archs, scale)

    return train


def _evaluate(held_out: HeldOut | None, archs: dict[str, Arch], model: Any) -> dict[str, float]:
    """Evaluate the watched archs and the operators' weights on the held-out images."""
    if held_out is None:
        return {}
    row: dict[str, float] = {}
    for name, arch in archs.items():
        metrics = held_out.measure(partial(model, arch=arch))
        row |= {f"{metric}/{name}": value for metric, value in metrics.items()}
    count = -(-RECALL_IMAGES // len(held_out.batches[0].targets))
    images = [batch.images for batch in held_out.batches[:count]]
    for operator in token_operators():
        if operator.metric is not None:
            shares = operator.measure(model, images)
            row |= {f"{operator.metric.name}/{name}": x for name, x in shares.items()}
    return row


def _make_legend(task: Task, recipe: SupernetRecipe, held_out: HeldOut | None) -> str:
    """Make the legend of the log's columns."""
    parts = []
    if recipe.full_epochs:
        parts.append(f"the full network learns alone for {recipe.full_epochs} epochs")
    parts.append(
        f"{describe_metric(task, held_out)}, of the largest and the smallest arch and of archs "
        "with the given share of the MACs"
    )
    metrics = (each.metric for each in token_operators())
    return "; ".join(parts + [f"{each.name}: {each.meaning}" for each in metrics if each])
