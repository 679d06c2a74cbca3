"""How weights are trained: optimiser, schedule, averaging, precision; all timm's."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from timm.optim import (
    create_optimizer_v2,
    list_optimizers,
    param_groups_layer_decay,
    param_groups_weight_decay,
)
from timm.scheduler import create_scheduler_v2
from timm.scheduler.scheduler import Scheduler

from space.errors import InputError, near, shown
from supernet.elastic import ElasticViT

SCHEDULES = ("cosine", "tanh", "step", "multistep", "poly", "wsd", "rsqrt", "constant")


@dataclass(frozen=True)
class Recipe:
    """How weights are trained.

    Args:
        epochs: passes over the training images.
        optimizer: timm's name.
        lr: learning rate.
        weight_decay: not on biases, norms, positions, prefix tokens and pooling kernels.
        layer_decay: factor of the learning rate from block to block, last to first; none for no.
        optimizer_args: more arguments for the optimiser, such as `betas`.
        schedule: timm's name, of those that are stepped at every update.
        warmup_epochs: epochs of linear warm-up.
        min_lr: where the schedule ends.
        clip: greatest norm of the gradient, of the network and of its selectors each; none for no
            clipping, as timm and DeiT do. The log shows the norm: a value far below it takes most
            of every step away.
        accumulate: batches of one optimiser step.
        ema: decay of the averaged weights, which are then the ones kept; none for no average.
        amp: bfloat16 autocast on GPUs.
        grad_checkpointing: work activations out again in the backward pass, to save memory.
        selector_lr: learning rate of map selectors, in an optimiser group of their own.
        selector_share: share of the images that map selectors learn from.
        save_minutes: checkpoints inside an epoch, so many minutes apart.
    """

    section: ClassVar[str] = "recipe"
    # Values that change how fast results come, or which are shown, but not the results.
    free: ClassVar[frozenset[str]] = frozenset({"save_minutes", "grad_checkpointing"})

    epochs: int = 30
    optimizer: str = "adamw"
    lr: float = 1e-3
    weight_decay: float = 0.05
    layer_decay: float | None = None
    optimizer_args: dict[str, Any] = field(default_factory=dict)
    schedule: str = "cosine"
    warmup_epochs: int = 0
    min_lr: float = 1e-6
    clip: float | None = None
    accumulate: int = 1
    ema: float | None = None
    amp: bool = True
    grad_checkpointing: bool = False
    selector_lr: float = 1e-3
    selector_share: float = 0.25
    save_minutes: float = 5.0

    def __post_init__(self) -> None:
        known = [str(name) for name in list_optimizers()]
        if self.optimizer not in known:
            hint = near(self.optimizer, known)
            raise InputError(f"{self.section}.optimizer: unknown {self.optimizer!r}{hint}")
        for name in ("epochs", "accumulate"):
            if getattr(self, name) < 1:
                value = getattr(self, name)
                raise InputError(f"{self.section}.{name}: must be at least 1, got {value}")
        for name in ("lr", "clip"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise InputError(f"{self.section}.{name}: must be above 0, got {value}")
        if self.ema is not None and not 0 < self.ema < 1:
            raise InputError(f"{self.section}.ema: must lie in (0, 1), got {self.ema}")
        if not 0 <= self.selector_share <= 1:
            raise InputError(
                f"{self.section}.selector_share: must lie in 0 to 1, got {self.selector_share}"
            )
        if self.schedule not in SCHEDULES:
            names = ", ".join(SCHEDULES)
            raise InputError(
                f"{self.section}.schedule: must be one of {names}, got {shown(self.schedule)}"
            )
        if self.optimizer_args:
            # On a parameter that stands for all: a wrong name is found before any work is done.
            _create_optimizer([{"params": [torch.nn.Parameter(torch.zeros(2, 2))]}], self)


def make_optimizer(model: ElasticViT, recipe: Recipe) -> torch.optim.Optimizer:
    """timm's optimiser; the map selectors get a group of their own, without decay."""
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
    others = list(model.selectors.parameters())
    taken = {id(parameter) for parameter in others}
    for group in groups:
        group["params"] = [p for p in group["params"] if id(p) not in taken]
    groups = [group for group in groups if group["params"]]
    if others:
        groups.append({"params": others, "lr": recipe.selector_lr, "weight_decay": 0.0})
    return _create_optimizer(groups, recipe)


def _create_optimizer(groups: list[dict[str, Any]], recipe: Recipe) -> torch.optim.Optimizer:
    try:
        return create_optimizer_v2(
            groups, opt=recipe.optimizer, lr=recipe.lr, weight_decay=0.0, **recipe.optimizer_args
        )
    except (TypeError, ValueError, AssertionError, IndexError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(
            f"{recipe.section}.optimizer_args: {recipe.optimizer} cannot be built with "
            f"{shown(recipe.optimizer_args)}: {reason}"
        ) from None


def make_schedule(optimizer: torch.optim.Optimizer, recipe: Recipe, updates: int) -> Scheduler:
    """timm's schedule, stepped at every one of the `updates` of an epoch.

    Raises:
        InputError: the schedule does not fit into the epochs.
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
        reason = " ".join(str(error).split())
        raise InputError(
            f"{recipe.section}.schedule: {recipe.schedule} does not fit into {recipe.epochs} "
            f"epochs with {recipe.warmup_epochs} of warm-up: {reason}"
        ) from None
    return schedule


def autocast(device: torch.device, amp: bool) -> AbstractContextManager[Any]:
    """bfloat16 on a GPU where `amp` asks for it, else nothing."""
    if amp and device.type == "cuda":
        return torch.autocast("cuda", dtype=torch.bfloat16)
    return nullcontext()
