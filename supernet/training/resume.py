"""Where a training stands, and whether a checkpoint is one of it."""

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
    """How far a training is.

    Args:
        epoch, step: optimiser steps of the epoch that are done.
        sums: losses and gradient norm, added up over the steps of the epoch.
        counts: over how many: not every step has every loss.
        module_updates: optimiser steps, since the first, in which a learned module took part.
    """

    epoch: int = 0
    step: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    module_updates: dict[str, int] = field(default_factory=dict)


def placed(state: Mapping[str, Any], epochs: int, updates: int, processes: int) -> Position:
    """The position of a checkpoint; with other processes the same share of the epoch is done.

    Args:
        state: of the checkpoint.
        epochs: of the recipe.
        updates: steps of an epoch, with this many `processes`.

    Raises:
        ValueError: there is no such place.
    """
    at = Position(**state["position"])
    # All steps of an epoch may be done while it is still to be judged.
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
    """Refuse to go on with another training: the result would be neither's.

    Args:
        path: of the checkpoint, for messages.
        state: of the checkpoint.
        recipe: of this training, those values that its results depend on, with its seed.
        identity: what is trained, for what.
        processes: of this training.

    Raises:
        InputError: what differs, old and new; or the checkpoint is another version's.
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
