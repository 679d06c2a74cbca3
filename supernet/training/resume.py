"""The position of a training, and the check that a checkpoint belongs to it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from torch import nn

from space.utils.errors import InputError, shown
from supernet.models.elastic import ElasticViT
from supernet.tasks.base import Task
from supernet.training.recipe import Recipe

SCHEMA = "tokennas/training/2"
STEPS = "number of steps in an epoch"


@dataclass
class Position:
    """The position of a training.

    Args:
        epoch: Epochs completed.
        step: Optimiser steps completed in the current epoch.
        sums: Losses and gradient norms, summed over the steps of the epoch.
        counts: Number of summands of each: not every step has every loss.
        module_updates: Optimiser steps that updated each learned module, over all epochs.
    """

    epoch: int = 0
    step: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    module_updates: dict[str, int] = field(default_factory=dict)

    def add_step(self, figures: Mapping[str, float], modules: Mapping[str, nn.Module]) -> None:
        """Count an optimiser step.

        Args:
            figures: Its losses and gradient norms.
            modules: The learned modules; those with a gradient were updated.
        """
        self.step += 1
        for name, value in figures.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
            self.counts[name] = self.counts.get(name, 0) + 1
        for name, module in modules.items():
            updated = any(parameter.grad is not None for parameter in module.parameters())
            self.module_updates[name] = self.module_updates.get(name, 0) + updated

    def means(self) -> dict[str, float]:
        """Return the mean losses and gradient norms of the epoch so far."""
        return {name: total / self.counts[name] for name, total in self.sums.items()}


def read_position(state: Mapping[str, Any], epochs: int, updates: int, processes: int) -> Position:
    """Return the position of a checkpoint; rescaled if the number of processes has changed.

    Args:
        state: State of the checkpoint.
        epochs: Epochs of the recipe.
        updates: Optimiser steps of an epoch with this many `processes`.
        processes: Processes of this training.

    Raises:
        ValueError: The position is not valid.
    """
    at = Position(**state["position"])
    # A checkpoint may lie between the last step of an epoch and its evaluation.
    steps = max(updates, state["updates"])
    valid = (
        at.epoch in range(epochs + 1)
        and at.step in range(steps + 1)
        and at.sums.keys() == at.counts.keys()
        and all(isinstance(count, int) for count in at.module_updates.values())
    )
    if not valid:
        raise ValueError(f"there is no such position: {shown(state['position'])}")
    if state["processes"] != processes:
        at.step = at.step * updates // state["updates"]
        at.counts = dict.fromkeys(at.sums, max(at.step, 1))
    return at


def describe_training(model: ElasticViT, task: Task, updates: int) -> dict[str, str]:
    """Describe model, task and steps of an epoch as JSON texts, to be compared on resume."""
    space = getattr(model, "space", None)
    described = {
        "arch": repr(model.arch),
        "space": space and space.to_dict(),
        "backbone shape": model.shape.to_dict(),
        "task": task.identity(),
        STEPS: updates,
    }
    return {name: json.dumps(value, default=str) for name, value in described.items()}


def check_same(
    state: Mapping[str, Any],
    recipe: Recipe,
    seed: int,
    identity: Mapping[str, str],
    processes: int,
) -> None:
    """Refuse to resume another training.

    Args:
        state: State of the checkpoint.
        recipe: The recipe of this training.
        seed: Its seed.
        identity: Its description by `describe_training`.
        processes: Processes of this training.

    Raises:
        InputError: A value differs, or another version wrote the checkpoint.
    """
    if state.get("schema") != SCHEMA:
        raise InputError(
            f"must be {SCHEMA}, got {shown(state.get('schema'))}: another version of "
            "tokennas wrote it; go on with that one, or give another folder"
        )
    old = {**state["recipe"], "seed": state["seed"]}
    changed = [
        f"{name} was {shown(old.get(name))}, is {shown(value)}"
        for name, value in {**asdict(recipe), "seed": seed}.items()
        if name not in recipe.free and old.get(name) != value
    ]
    for name, value in identity.items():
        differs = state["identity"].get(name) != value
        if differs and (name != STEPS or state["processes"] == processes):
            changed.append(f"it has another {name}")
    if changed:
        raise InputError(
            f"the folder holds another training: {'; '.join(changed)}; give the old values or "
            "another folder"
        )
