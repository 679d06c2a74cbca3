"""Detection of a diverged training, and an error that says what to try."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from space.utils.errors import InputError
from supernet.training.recipe import Recipe
from supernet.training.resume import Position


class DivergedError(InputError):
    """A loss, a gradient or a weight is not finite."""


def not_finite(figures: Mapping[str, float]) -> str | None:
    """Describe the first value that is not finite (`loss/largest is nan`); None without one."""
    bad = ((name, value) for name, value in figures.items() if not math.isfinite(value))
    return next((f"{name} is {value}" for name, value in bad), None)


def diverged(
    what: str, recipe: Recipe, at: Position, updates: int, checkpoint: Path | None
) -> DivergedError:
    """Make the error of a training that diverged.

    Args:
        what: The value that is not finite: `loss/largest is nan`.
        recipe: The recipe of the training.
        at: Position at which it diverged.
        updates: Optimiser steps of an epoch.
        checkpoint: The last good checkpoint, if there is one.
    """
    section, step = recipe.section, min(at.step + 1, updates)
    clip = "none" if recipe.clip is None else f"{recipe.clip:g}"
    kept = checkpoint is not None and checkpoint.exists()
    return DivergedError(
        f"{section}: training diverged in epoch {at.epoch + 1}, step {step} of {updates}: "
        f"{what}; try a lower {section}.lr (it is {recipe.lr:g}), more {section}.warmup_epochs "
        f"({recipe.warmup_epochs}) or a {section}.clip ({clip})"
        + (f"; the last good state is kept in {checkpoint}" if kept else "")
    )
