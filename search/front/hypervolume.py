"""Dominance and exact hypervolume, of points to minimise and of evaluations."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from search.problem.evaluation import Record
from search.problem.objectives import Objective

Array = np.ndarray[Any, Any]


def weakly_dominates(points: Array, others: Array) -> Array:
    """Return whether each point is at most the other in all D coordinates; shapes (..., D)."""
    return np.asarray((points <= others).all(axis=-1))


class Archive:
    """Non-dominated points to minimise, and their hypervolume.

    Args:
        reference: Reference point; points beyond it add no volume.

    Attributes:
        volume: Their hypervolume.
        points: The points, (points, D).
    """

    def __init__(self, reference: Sequence[float]) -> None:
        self.reference = np.array(reference, dtype=float)
        self.volume = 0.0
        self.points: Array = np.empty((0, len(self.reference)))

    def add(self, point: Sequence[float]) -> None:
        """Add a point, unless another dominates or equals it."""
        new = np.array(point, dtype=float)
        if weakly_dominates(self.points, new).any():
            return
        if (new < self.reference).all():
            # Its box minus the volume of the others in that box: WFG (While, Bradstreet and Barone,
            # 2012).
            box = float(np.prod(self.reference - new))
            self.volume += box - _volume(np.maximum(self.points, new), self.reference)
        remaining = self.points[~weakly_dominates(new, self.points)]
        self.points = np.vstack([remaining, new])


def _volume(points: Array, reference: Array) -> float:
    """Compute the volume between a reference point and the points that are better than it."""
    points = np.unique(points[(points < reference).all(axis=1)], axis=0)
    if not len(points):
        return 0.0
    if len(reference) == 2:
        # Strips from one point to the next, each as high as the best so far.
        widths = np.diff(points[:, 0], append=reference[0])
        return float(widths @ (reference[1] - np.minimum.accumulate(points[:, 1])))
    archive = Archive(reference.tolist())
    for point in points:
        archive.add(point)
    return archive.volume


def apply_signs(values: Iterable[float], objectives: Sequence[Objective]) -> tuple[float, ...]:
    """Turn objective values into a point to minimise; the same call turns it back."""
    return tuple(each.sign * value for each, value in zip(objectives, values, strict=True))


def worst_values(records: Iterable[Record], objectives: Sequence[Objective]) -> tuple[float, ...]:
    """Return the worst value of each objective among successful evaluations; 0 without one."""
    points = [
        apply_signs(record.values, objectives) for record in records if record.values is not None
    ]
    if not points:
        return (0.0,) * len(objectives)
    return apply_signs(map(max, zip(*points, strict=True)), objectives)


def build_archive(
    records: Iterable[Record], objectives: Sequence[Objective], reference: Sequence[float]
) -> tuple[Archive, list[tuple[int, float]]]:
    """Build the archive of a search's non-dominated points.

    Args:
        records: Finished evaluations in order; failed ones and those beyond a constraint add no
            volume, but are counted as evaluations.
        objectives: Objectives of the records' values.
        reference: Reference point in the objectives' own units, equal for searches to compare.

    Returns:
        The final archive, and (evaluations, hypervolume) at each growth of the hypervolume.
    """
    archive, steps = Archive(apply_signs(reference, objectives)), []
    for count, record in enumerate(records, start=1):
        before = archive.volume
        if record.meets_constraints and record.values is not None:
            archive.add(apply_signs(record.values, objectives))
        if archive.volume > before:
            steps.append((count, archive.volume))
    return archive, steps
