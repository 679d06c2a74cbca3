"""Dominance and exact hypervolume, of points to minimise and of evaluations as such points."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from search.problem.evaluation import Record
from search.problem.objectives import Objective

Array = np.ndarray[Any, Any]


def weakly_dominates(points: Array, others: Array) -> Array:
    """Whether each point is nowhere worse than its partner in `others`, all to be minimised."""
    return np.asarray((points <= others).all(axis=-1))


class Archive:
    """The non-dominated points so far, and the volume that they dominate.

    Args:
        reference: the corner that bounds the volume; what lies beyond it has none.
    """

    def __init__(self, reference: Sequence[float]) -> None:
        self.reference = np.array(reference, dtype=float)
        self.volume = 0.0
        self._points: Array = np.empty((0, len(self.reference)))

    @property
    def points(self) -> list[tuple[float, ...]]:
        return [tuple(point) for point in self._points.tolist()]

    def add(self, point: Sequence[float]) -> bool:
        """Add a point; whether no other dominates or equals it."""
        new = np.array(point, dtype=float)
        if weakly_dominates(self._points, new).any():
            return False
        self.volume += _exclusive(new, self._points, self.reference)
        left = self._points[~weakly_dominates(new, self._points)]
        self._points = np.vstack([left, new])
        return True


def hypervolume(points: Iterable[Sequence[float]], reference: Sequence[float]) -> float:
    """Volume between `reference` and the points that lie on its better side."""
    corner = np.array(reference, dtype=float)
    return _volume(np.array(list(points), dtype=float).reshape(-1, len(corner)), corner)


def _exclusive(point: Array, others: Array, reference: Array) -> float:
    """What the others take from a point is the volume of the others moved to where it ends.

    And so on, down to nothing: the recursion of WFG (While, Bradstreet and Barone, 2012).
    """
    if not (point < reference).all():
        return 0.0
    own = float(np.prod(reference - point))
    return own - _volume(np.maximum(others, point), reference) if len(others) else own


def _volume(points: Array, reference: Array) -> float:
    points = np.unique(points[(points < reference).all(axis=1)], axis=0)
    if not len(points):
        return 0.0
    if len(reference) == 1:
        return float(reference[0] - points[0, 0])
    if len(reference) == 2:
        # Strips from one point to the next, each as high as the best so far.
        widths = np.diff(points[:, 0], append=reference[0])
        return float(widths @ (reference[1] - np.minimum.accumulate(points[:, 1])))
    archive = Archive(reference.tolist())
    for point in points:
        archive.add(point)
    return archive.volume


def signed(values: Iterable[float], objectives: Sequence[Objective]) -> tuple[float, ...]:
    """Values of objectives as a point to minimise; the same call turns it back."""
    return tuple(each.sign * value for each, value in zip(objectives, values, strict=True))


def worst_values(records: Iterable[Record], objectives: Sequence[Objective]) -> tuple[float, ...]:
    """The worst value of each objective among the evaluations that succeeded; 0 for none."""
    points = [signed(record.values, objectives) for record in records if record.values is not None]
    if not points:
        return (0.0,) * len(objectives)
    return signed(map(max, zip(*points, strict=True)), objectives)


def hypervolume_steps(
    records: Iterable[Record], objectives: Sequence[Objective], reference: Sequence[float]
) -> list[tuple[int, float]]:
    """(evaluations, hypervolume) wherever the hypervolume grew.

    Args:
        records: finished evaluations; those beyond a constraint count, but add nothing.
        objectives: what their values are of.
        reference: in the objectives' own units; to compare searches, give them the same.
    """
    return follow_archive(records, objectives, reference)[1]


def follow_archive(
    records: Iterable[Record], objectives: Sequence[Objective], reference: Sequence[float]
) -> tuple[Archive, list[tuple[int, float]]]:
    """The non-dominated points of all evaluations, and the steps of `hypervolume_steps`."""
    archive, steps = Archive(signed(reference, objectives)), []
    for count, record in enumerate(records, start=1):
        before = archive.volume
        if record.inside and record.values is not None:
            archive.add(signed(record.values, objectives))
        if archive.volume > before:
            steps.append((count, archive.volume))
    return archive, steps
