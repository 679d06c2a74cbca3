"""timm's optimiser and schedule for a recipe, and clipping of gradients."""

from __future__ import annotations

from collections.abc import Mapping
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
from torch import nn
from torch.nn.utils import clip_grad_norm_

from space.utils.errors import InputError, near, one_line, shown
from supernet.models.elastic import ElasticViT
from supernet.training.recipe import Recipe


def check_optimizer(recipe: Recipe) -> None:
    """Check that timm has the recipe's optimiser and takes its arguments.

    Raises:
        InputError: The optimiser is unknown, or its arguments are invalid.
    """
    _check_name(recipe)
    # Some optimisers without arguments can only be built on GPUs, which this machine may lack.
    if recipe.optimizer_args:
        _create_optimizer([{"params": [nn.Parameter(torch.zeros(2, 2))]}], recipe)


def make_optimizer(model: ElasticViT, recipe: Recipe) -> torch.optim.Optimizer:
    """Make timm's optimiser; parameters of auxiliary losses get a group without weight decay.

    Raises:
        InputError: The optimiser is unknown, or its arguments are invalid.
    """
    decay: dict[str, Any] = {
        "weight_decay": recipe.weight_decay,
        "no_weight_decay_list": model.no_weight_decay(),
    }
    if recipe.layer_decay is None:
        groups = param_groups_weight_decay(model, **decay)
    else:
        groups = param_groups_layer_decay(model, layer_decay=recipe.layer_decay, **decay)
    auxiliary = [each for group in model.auxiliary_parameters().values() for each in group]
    auxiliary_ids = {id(parameter) for parameter in auxiliary}
    for group in groups:
        group["params"] = [each for each in group["params"] if id(each) not in auxiliary_ids]
    groups = [group for group in groups if group["params"]]
    if auxiliary:
        groups.append({"params": auxiliary, "lr": recipe.selector_lr, "weight_decay": 0.0})
    return _create_optimizer(groups, recipe)


def _check_name(recipe: Recipe) -> None:
    names = [str(name) for name in list_optimizers()]
    if recipe.optimizer not in names:
        hint = near(recipe.optimizer, names)
        raise InputError(f"{recipe.section}.optimizer: unknown {recipe.optimizer!r}{hint}")


def _create_optimizer(groups: list[dict[str, Any]], recipe: Recipe) -> torch.optim.Optimizer:
    _check_name(recipe)
    try:
        return create_optimizer_v2(
            groups, opt=recipe.optimizer, lr=recipe.lr, weight_decay=0.0, **recipe.optimizer_args
        )
    except (TypeError, ValueError, AssertionError, IndexError) as error:
        raise InputError(
            f"{recipe.section}.optimizer_args: {recipe.optimizer} cannot be built with "
            f"{shown(recipe.optimizer_args)}: {one_line(error, typed=True)}"
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
        raise InputError(
            f"{recipe.section}.schedule: {recipe.schedule} does not fit into {recipe.epochs} "
            f"epochs with {recipe.warmup_epochs} of warm-up: {one_line(error)}"
        ) from None
    return schedule


def split_parameters(model: ElasticViT) -> dict[str, list[nn.Parameter]]:
    """Split the parameters into the network's and those of each auxiliary loss.

    Returns:
        The network's parameters first, each group under the name of its gradient norm in the log:
        `grad_norm`, `selector_grad_norm`.
    """
    auxiliary = model.auxiliary_parameters()
    auxiliary_ids = {id(each) for group in auxiliary.values() for each in group}
    network = [each for each in model.parameters() if id(each) not in auxiliary_ids]
    return {"grad_norm": network} | {
        f"{name}_grad_norm": group for name, group in auxiliary.items()
    }


def clip_gradients(
    groups: Mapping[str, list[nn.Parameter]], max_norm: float | None
) -> dict[str, float]:
    """Clip the gradients of each group of parameters by the group's norm.

    Args:
        groups: Parameters by group name.
        max_norm: Maximum norm; None turns clipping off.

    Returns:
        The norm of each group that has gradients, before clipping.
    """
    norms = {}
    for name, parameters in groups.items():
        with_gradient = [each for each in parameters if each.grad is not None]
        if with_gradient:
            # Clipping to infinity changes nothing.
            norms[name] = clip_grad_norm_(
                with_gradient, torch.inf if max_norm is None else max_norm
            ).item()
    return norms
