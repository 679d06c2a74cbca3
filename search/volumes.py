"""Evaluations as points to minimise, and the hypervolume that they dominate one after the other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from search.hypervolume import Archive
from search.objectives import Objective
from search.record import Record


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
