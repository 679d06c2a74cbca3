"""The start of a training, its position, and the check that a checkpoint belongs to it."""

from __future__ import annotations

import json
from collections.abc import Container, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from space.utils.errors import InputError, naming, shown
from supernet.config import Amp
from supernet.models.elastic import ElasticViT
from supernet.precision import Autocast, decide_autocast
from supernet.process_group import Processes
from supernet.tasks.base import Task
from supernet.training.checkpoint import CHECKPOINT, LoadedCheckpoint, load_checkpoint
from supernet.training.recipe import Recipe

SCHEMA = "tokennas/training/3"
# Its recipes had `amp: true` by default, which was for GPUs alone.
EARLIER_SCHEMA = "tokennas/training/2"
STEPS = "number of steps in an epoch"


@dataclass
class Start:
    """The start of a training, or of its continuation.

    Args:
        autocast: The decision on autocast, for the whole training.
        path: Path of the checkpoint; None for none.
        state: State of the checkpoint; None without one.
        notes: One line for each damaged checkpoint.
    """

    autocast: Autocast
    path: Path | None
    state: dict[str, Any] | None
    notes: list[str]


def start_training(amp: Amp, model: ElasticViT, folder: Path | None) -> Start:
    """Read the checkpoint in a folder, if any, and decide on autocast.

    With `auto` a training keeps the decision with which it began, also on another machine. The main
    process decides for all: others may have another `amp`, where they see no checkpoint.

    Args:
        amp: `amp` of the recipe.
        model: The model, on its device.
        folder: Folder of the checkpoint; None for none.

    Raises:
        InputError: There are checkpoints, and none is that of a training.
    """
    processes, device = Processes.current(), next(model.parameters()).device
    path = folder and folder / CHECKPOINT
    loaded = LoadedCheckpoint(None, [])
    # Only the main process reads: the file may be missing on other nodes.
    if path is not None and processes.is_main:
        loaded = load_checkpoint(path)
    state = processes.broadcast(loaded.state)
    autocast = decide_autocast(amp, device, model.shape.width)
    if state is not None and state.get("schema") in (SCHEMA, EARLIER_SCHEMA):
        with naming(str(path)):
            state = _decide_amp(state, device)
        if amp == "auto":
            autocast = Autocast(state["recipe"]["amp"], "auto: as this training began")
    return Start(processes.broadcast(autocast), path, state, loaded.notes)


def _decide_amp(state: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
    """Return a state whose recipe says whether the training began under autocast.

    Raises:
        InputError: The state does not tell.
    """
    recipe = state.get("recipe")
    amp = recipe.get("amp") if isinstance(recipe, Mapping) else None
    if not isinstance(recipe, Mapping) or not isinstance(amp, bool):
        raise InputError(
            f"no state of a training: recipe.amp must be true or false, got {shown(amp)}; delete "
            "it to start anew"
        )
    if state["schema"] == EARLIER_SCHEMA:
        amp = amp and device.type == "cuda"
    return {**state, "schema": SCHEMA, "recipe": {**recipe, "amp": amp}}


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

    def add_step(self, scalars: Mapping[str, float], modules: Mapping[str, nn.Module]) -> None:
        """Count an optimiser step.

        Args:
            scalars: Its losses and gradient norms.
            modules: The learned modules; those with a gradient were updated.
        """
        self.step += 1
        for name, value in scalars.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
            self.counts[name] = self.counts.get(name, 0) + 1
        for name, module in modules.items():
            updated = any(parameter.grad is not None for parameter in module.parameters())
            self.module_updates[name] = self.module_updates.get(name, 0) + updated

    def means(self) -> dict[str, float]:
        """Return the mean losses and gradient norms of the epoch so far."""
        return {name: total / self.counts[name] for name, total in self.sums.items()}


def describe_training(
    model: ElasticViT, task: Task, recipe: Recipe, seed: int, updates: int
) -> dict[str, Any]:
    """Describe a training by the plain values of its checkpoint, apart from the position.

    Args:
        model: The model.
        task: The task.
        recipe: The recipe; its `amp` is decided.
        seed: The seed.
        updates: Optimiser steps per epoch.
    """
    space = getattr(model, "space", None)
    identity = {
        "arch": repr(model.arch),
        "space": space and space.to_dict(),
        "backbone shape": model.shape.to_dict(),
        "task": task.identity(),
        STEPS: updates,
    }
    return {
        "schema": SCHEMA,
        "recipe": asdict(recipe),
        "seed": seed,
        "identity": {name: json.dumps(value, default=str) for name, value in identity.items()},
        "processes": Processes.current().count,
        "updates": updates,
    }


def check_same(state: Mapping[str, Any], training: Mapping[str, Any], free: Container[str]) -> None:
    """Refuse to resume another training.

    Args:
        state: State of the checkpoint.
        training: This training by `describe_training`.
        free: Values of the recipe that may change.

    Raises:
        InputError: A value differs, or another version wrote the checkpoint.
    """
    if state.get("schema") != SCHEMA:
        raise InputError(
            f"must be {SCHEMA}, got {shown(state.get('schema'))}: another version of "
            "tokennas wrote it; resume with that version, or give another folder"
        )
    old = {**state["recipe"], "seed": state["seed"]}
    changed = [
        f"{name} was {shown(old.get(name))}, is {shown(value)}"
        for name, value in {**training["recipe"], "seed": training["seed"]}.items()
        if name not in free and old.get(name) != value
    ]
    rescaled = state["processes"] != training["processes"]
    for name, value in training["identity"].items():
        if state["identity"].get(name) != value and not (rescaled and name == STEPS):
            changed.append(f"it has another {name}")
    if changed:
        raise InputError(
            f"the folder holds another training: {'; '.join(changed)}; give the old values or "
            "another folder"
        )


def read_position(state: Mapping[str, Any], training: Mapping[str, Any]) -> Position:
    """Return the position of a checkpoint, rescaled if the number of processes has changed.

    Args:
        state: State of the checkpoint.
        training: This training by `describe_training`.

    Raises:
        ValueError: The position is not valid.
    """
    position = Position(**state["position"])
    # A checkpoint may lie between the last step of an epoch and its evaluation.
    steps = max(training["updates"], state["updates"])
    valid = (
        position.epoch in range(training["recipe"]["epochs"] + 1)
        and position.step in range(steps + 1)
        and position.sums.keys() == position.counts.keys()
        and all(isinstance(count, int) for count in position.module_updates.values())
    )
    if not valid:
        raise ValueError(f"invalid position: {shown(state['position'])}")
    if state["processes"] != training["processes"]:
        position.step = position.step * training["updates"] // state["updates"]
        position.counts = dict.fromkeys(position.sums, max(position.step, 1))
    return position
