"""Hypervolumes of searches by one measure, so that they can stand in one picture."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import NamedTuple

from search.hypervolume import hypervolume_steps, signed, worst_values
from search.objectives import Objective
from search.record import Record
from search.report.searches import SearchResult

RANDOM = "RandomSampler"

Step = tuple[int, float]


class Volumes(NamedTuple):
    """Hypervolume over evaluations.

    Args:
        evaluations: at which the curve ends.
        steps: (evaluations, hypervolume) wherever it grew; the hypervolume as a share of the box
            between the worst and the best value of each objective.
    """

    evaluations: int
    steps: tuple[Step, ...]


def comparable(search: SearchResult, others: Sequence[SearchResult]) -> list[SearchResult]:
    """The random searches among `others` of the same objectives and budget."""
    if search.sampler == RANDOM or not search.records:
        return []
    return [
        each
        for each in others
        if each.sampler == RANDOM
        and each.records
        and each.front.objectives == search.front.objectives
        and each.front.shape == search.front.shape
        and each.limits == search.limits
    ]


def volumes(searches: Sequence[SearchResult]) -> list[Volumes]:
    """The curve of each search, all from one reference point and in one unit."""
    objectives = searches[0].front.objectives
    if not searches[0].records:
        return [_of_front(searches[0])]
    records = [record for search in searches for record in search.records]
    reference = worst_values(records, objectives)
    box = _box(records, objectives, reference)
    return [
        Volumes(
            len(search.records),
            tuple(
                (count, volume / box if box else 0.0)
                for count, volume in hypervolume_steps(search.records, objectives, reference)
            ),
        )
        for search in searches
    ]


def _of_front(search: SearchResult) -> Volumes:
    """By the front alone, where the evaluations are out of reach."""
    front = search.front
    points = [signed(entry.values, front.objectives) for entry in front.entries]
    corner = signed(front.reference, front.objectives)
    box = _volume(points, corner)
    steps = tuple((count, volume / box if box else 0.0) for count, volume in front.steps)
    return Volumes(front.evaluations, steps)


def _box(
    records: Sequence[Record], objectives: Sequence[Objective], reference: Sequence[float]
) -> float:
    inside = [record.values for record in records if record.inside and record.values]
    points = [signed(values, objectives) for values in inside]
    return _volume(points, signed(reference, objectives))


def _volume(points: Sequence[tuple[float, ...]], corner: tuple[float, ...]) -> float:
    if not points:
        return 0.0
    best = map(min, zip(*points, strict=True))
    return float(prod(worst - least for worst, least in zip(corner, best, strict=True)))
