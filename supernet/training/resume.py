"""The position of a training, and the check that a checkpoint belongs to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from space.utils.errors import InputError, shown

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


def placed(state: Mapping[str, Any], epochs: int, updates: int, processes: int) -> Position:
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
    if at.epoch not in range(epochs + 1) or at.step not in range(steps + 1):
        raise ValueError(f"there is no epoch {at.epoch}, step {at.step}")
    if at.sums.keys() != at.counts.keys():
        raise ValueError("its losses are not those that were counted")
    if not all(isinstance(count, int) for count in at.module_updates.values()):
        raise ValueError("its updates of modules are no numbers")
    if state["processes"] != processes:
        at.step = at.step * updates // state["updates"]
        at.counts = dict.fromkeys(at.sums, max(at.step, 1))
    return at


def check_same(
    path: Path | None,
    state: Mapping[str, Any],
    recipe: Mapping[str, Any],
    identity: Mapping[str, str],
    processes: int,
) -> None:
    """Refuse to resume another training.

    Args:
        path: Path of the checkpoint, for messages.
        state: State of the checkpoint.
        recipe: Recipe values that alter the result, and the seed.
        identity: Description of model and task.
        processes: Processes of this training.

    Raises:
        InputError: A value differs, or another version wrote the checkpoint.
    """
    if state.get("schema") != SCHEMA:
        raise InputError(
            f"{path}: must be {SCHEMA}, got {shown(state.get('schema'))}: another version of "
            "tokennas wrote it; go on with that one, or give another folder"
        )
    old = {**state["recipe"], "seed": state["seed"]}
    changed = [
        f"{key} was {shown(old.get(key))}, is {shown(recipe[key])}"
        for key in recipe
        if old.get(key) != recipe[key]
    ]
    if changed:
        raise InputError(
            f"{path}: was trained by another recipe ({'; '.join(changed)}); "
            "give the old values or another folder"
        )
    was = state["identity"]
    other = [
        name
        for name in identity
        if was.get(name) != identity[name] and (name != STEPS or state["processes"] == processes)
    ]
    if other:
        raise InputError(
            f"{path}: the folder holds another training, of another {', '.join(other)}; "
            "give another folder"
        )
