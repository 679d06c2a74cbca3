"""Training of the supernet by the sandwich rule."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from space.arch import Arch
from space.operators.registry import operators
from space.space import SearchSpace
from space.utils.atomic import make_folder
from space.utils.errors import InputError, shown
from supernet.data.loaders import Batch, all_batches
from supernet.evaluation import HeldOut
from supernet.models.elastic import ElasticViT
from supernet.models.supernet import Supernet
from supernet.operators.registry import token_operator
from supernet.process_group import Processes
from supernet.tasks.base import Task
from supernet.tasks.dense import DenseTask
from supernet.tasks.heads import HeadOptions, TaskHead
from supernet.training.log import TrainingLog
from supernet.training.recipe import SupernetRecipe
from supernet.training.resume import start_training
from supernet.training.sandwich import Sandwich, draw_archs, freeze, select_smallest
from supernet.training.trainer import Step, Trainer

# Enough for the metrics of operators, which attend to all tokens once more.
OPERATOR_METRIC_IMAGES = 256


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
        held_out: Batches of (images, targets) to evaluate on after each epoch; None for none.
        teacher: A network on the same device, to distil from.
        folder: Folder of checkpoint and log, to resume from; None to write nothing.
        seed: Seed of every random choice.
        quiet: Whether to print nothing.

    Returns:
        The same supernet, with the trained weights (averaged if the recipe has `ema`).

    Raises:
        InputError: The head does not fit the task, the teacher needs an arch, the folder holds
            another training, or a file cannot be written.
        KeyboardInterrupt: Ctrl-C or SIGTERM; the same call resumes from the last checkpoint.
    """
    recipe = recipe or SupernetRecipe()
    check_head(task, supernet, "supernet", "reset the head before the supernet is built")
    path, frozen = None if folder is None else Path(folder), freeze(teacher)
    start = start_training(recipe.amp, supernet, path)
    recipe = replace(recipe, amp=start.autocast.on)
    sandwich = Sandwich(supernet, task, recipe, frozen)
    held_out = make_held_out(held_out, task, supernet, start.autocast.on)
    if path is not None:
        make_folder(path)
    trainer = Trainer(
        supernet,
        train,
        task=task,
        recipe=recipe,
        step=_make_step(sandwich, seed),
        evaluate=partial(_evaluate, held_out, select_watched_archs(supernet.space, recipe)),
        log=make_log(task, path, "supernet", _make_legend(task, recipe, held_out), quiet),
        start=start,
        seed=seed,
    )
    trained = trainer.fit()
    updates = sorted(trainer.position.module_updates.items(), key=itemgetter(1))
    if updates:
        counts = ", ".join(f"{name} {count:,}" for name, count in updates)
        trainer.log.print_lines(f"updates of each learned module: {counts}")
    supernet.load_state_dict(trained.state_dict())
    return supernet.eval()


def check_head(task: Task, model: ElasticViT, name: str, remedy: str) -> None:
    """Refuse a model whose head is not one of the task.

    Args:
        task: The task.
        model: A supernet or a subnet.
        name: What the model is, for the error.
        remedy: What the caller can do.

    Raises:
        InputError: The head does not fit.
    """
    if not task.fits(model):
        head, has, needs = model.head, f"{model.num_classes} outputs", task.needs
        if isinstance(head, TaskHead):
            has = _describe_head(head.outputs, head.activation, head.options)
        if isinstance(task, DenseTask):
            options = task.head.resolve(model)
            needs += f" with {_describe_head(task.channels, task.activation(), options)}"
        raise InputError(f"the {name}'s head has {has}, {needs}; {remedy}")


def _describe_head(outputs: int, activation: nn.Module, options: HeadOptions) -> str:
    return f"{outputs} outputs, {activation} and the options {shown(options.to_dict())}"


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
    names = [each.metric.name for each in operators() if each.metric is not None]
    units = {metric.name: metric.unit, **dict.fromkeys(names, "%")}
    return TrainingLog(folder if is_main else None, title, legend, quiet or not is_main, units)


def describe_metric(task: Task, held_out: HeldOut | None) -> str:
    """Describe the log's columns of the task's primary metric."""
    count = "" if held_out is None else f"{len(held_out):,} "
    return f"{task.metrics[0].name} on {count}held-out images"


def select_watched_archs(space: SearchSpace, recipe: SupernetRecipe) -> dict[str, Arch]:
    """Select the archs to log metrics of: largest, smallest, and up to `watch` between in MACs."""
    bands, rng = space.mac_bands, np.random.default_rng(0)
    least = (recipe.least_share or 0) * bands.high
    archs = {"largest": space.largest(), "smallest": select_smallest(space, least, rng)}
    targets = np.linspace(max(bands.low, least), bands.high, recipe.watch + 2)[1:-1]
    for low, high in zip(targets * 0.97, targets * 1.03, strict=True):
        if bands.count(low, high).value:
            archs[f"{(low + high) / 2 / bands.high:.0%}"] = space.sample(rng, macs=(low, high))
    return archs


def _make_step(sandwich: Sandwich, seed: int) -> Step:
    """Make the function that trains on a batch; in the first epochs the largest arch alone."""
    recipe, space = sandwich.recipe, sandwich.model.space

    def train(batch: Batch, epoch: int, step: int, scale: float) -> dict[str, Tensor]:
        full_only = epoch < (recipe.full_epochs or 0)
        archs = [] if full_only else draw_archs(space, seed, step, recipe)
        return sandwich(batch, archs, scale)

    return train


def _evaluate(held_out: HeldOut | None, archs: dict[str, Arch], model: Any) -> dict[str, float]:
    """Evaluate the watched archs on the held-out images, and operators' metrics on the first."""
    if held_out is None:
        return {}
    row: dict[str, float] = {}
    for name, arch in archs.items():
        metrics = held_out.measure(partial(model, arch=arch))
        row |= {f"{metric}/{name}": value for metric, value in metrics.items()}
    images, count = list[Tensor](), 0
    for batch in held_out.batches:
        if count < OPERATOR_METRIC_IMAGES:
            images.append(batch.images)
            count += len(batch.images)
    for operator in operators():
        if operator.metric is not None:
            values = token_operator(operator.name).measure(model, images)
            row |= {f"{operator.metric.name}/{name}": x for name, x in values.items()}
    return row


def _make_legend(task: Task, recipe: SupernetRecipe, held_out: HeldOut | None) -> str:
    """Make the legend of the log's columns."""
    parts = []
    if recipe.full_epochs:
        parts.append(f"the largest arch learns alone for {recipe.full_epochs} epochs")
    parts.append(
        f"{describe_metric(task, held_out)}, of the largest and the smallest arch and of archs "
        "with the given share of the MACs"
    )
    metrics = (each.metric for each in operators())
    return "; ".join(parts + [f"{each.name}: {each.meaning}" for each in metrics if each])
