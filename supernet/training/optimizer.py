"""timm's optimiser and schedule for a recipe, and autocast."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from timm.optim import (
    create_optimizer_v2,
    list_optimizers,
    param_groups_layer_decay,
    param_groups_weight_decay,
)
from timm.scheduler import create_scheduler_v2
from timm.scheduler.scheduler import Scheduler

from space.utils.errors import InputError, near, one_line, shown
from supernet.models.elastic import ElasticViT
from supernet.training.recipe import Recipe


def check_optimizer(recipe: Recipe) -> None:
    """Check that timm has the recipe's optimiser and takes its arguments.

    Raises:
        InputError: The optimiser is unknown, or its arguments are wrong.
    """
    _check_name(recipe)
    if recipe.optimizer_args:
        # Built on a dummy parameter.
        _create_optimizer([{"params": [torch.nn.Parameter(torch.zeros(2, 2))]}], recipe)


def make_optimizer(model: ElasticViT, recipe: Recipe) -> torch.optim.Optimizer:
    """Make timm's optimiser; parameters of auxiliary losses get a group without weight decay."""
    no_decay = model.no_weight_decay()
    if recipe.layer_decay is not None:
        groups = param_groups_layer_decay(
            model,
            weight_decay=recipe.weight_decay,
            no_weight_decay_list=no_decay,
            layer_decay=recipe.layer_decay,
        )
    else:
        groups = param_groups_weight_decay(
            model, weight_decay=recipe.weight_decay, no_weight_decay_list=no_decay
        )
    others = [each for group in model.auxiliary_parameters().values() for each in group]
    taken = {id(parameter) for parameter in others}
    for group in groups:
        group["params"] = [p for p in group["params"] if id(p) not in taken]
    groups = [group for group in groups if group["params"]]
    if others:
        groups.append({"params": others, "lr": recipe.selector_lr, "weight_decay": 0.0})
    return _create_optimizer(groups, recipe)


def _check_name(recipe: Recipe) -> None:
    known = [str(name) for name in list_optimizers()]
    if recipe.optimizer not in known:
        hint = near(recipe.optimizer, known)
        raise InputError(f"{recipe.section}.optimizer: unknown {recipe.optimizer!r}{hint}")


def _create_optimizer(groups: list[dict[str, Any]], recipe: Recipe) -> torch.optim.Optimizer:
    _check_name(recipe)
    try:
        return create_optimizer_v2(
            groups, opt=recipe.optimizer, lr=recipe.lr, weight_decay=0.0, **recipe.optimizer_args
        )
    except (TypeError, ValueError, AssertionError, IndexError) as error:
        reason = one_line(error, typed=True)
        raise InputError(
            f"{recipe.section}.optimizer_args: {recipe.optimizer} cannot be built with "
            f"{shown(recipe.optimizer_args)}: {reason}"
        ) from None


def make_schedule(optimizer: torch.optim.Optimizer, recipe: Recipe, updates: int) -> Scheduler:
    """Make timm's schedule, stepped at each of the `updates` optimiser steps of an epoch.

    Raises:
        InputError: The schedule does not fit into the epochs.
    """
    try:
        schedule: Scheduler = create_scheduler_v2(
            optimizer,
            sched=recipe.schedule,
            num_epochs=recipe.epochs,
            warmup_epochs=recipe.warmup_epochs,
            warmup_lr=recipe.min_lr,
            min_lr=recipe.min_lr,
            step_on_epochs=False,
            updates_per_epoch=updates,
        )[0]
    except ValueError as error:
        reason = one_line(error)
        raise InputError(
            f"{recipe.section}.schedule: {recipe.schedule} does not fit into {recipe.epochs} "
            f"epochs with {recipe.warmup_epochs} of warm-up: {reason}"
        ) from None
    return schedule


def autocast(device: torch.device, amp: bool) -> AbstractContextManager[Any]:
    """Return bfloat16 autocast on a GPU if `amp` is set, else a null context."""
    if amp and device.type == "cuda":
        return torch.autocast("cuda", dtype=torch.bfloat16)
    return nullcontext()
