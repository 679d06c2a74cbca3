"""Dominance and exact hypervolume, for points whose coordinates are all to be minimised."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import prod
from operator import sub

Point = tuple[float, ...]


def dominates(a: Sequence[float], b: Sequence[float]) -> bool:
    """Whether `a` is nowhere worse than `b` and somewhere better."""
    return all(x <= y for x, y in zip(a, b, strict=True)) and tuple(a) != tuple(b)


class Archive:
    """The non-dominated points so far, and the volume that they dominate.

    Args:
        reference: the corner that bounds the volume; points beyond it add only what is inside.
    """

    def __init__(self, reference: Sequence[float]) -> None:
        self.reference = tuple(reference)
        self.points: list[Point] = []
        self.volume = 0.0

    def add(self, point: Sequence[float]) -> bool:
        """Add a point; whether no other dominates or equals it."""
        new = tuple(point)
        if any(each == new or dominates(each, new) for each in self.points):
            return False
        self.volume += exclusive_volume(new, self.points, self.reference)
        self.points = [each for each in self.points if not dominates(new, each)] + [new]
        return True


def hypervolume(points: Iterable[Sequence[float]], reference: Sequence[float]) -> float:
    """Volume between `reference` and the points that lie on its better side."""
    corner = tuple(reference)
    inside = {tuple(p) for p in points if all(x < r for x, r in zip(p, corner, strict=True))}
    if len(corner) <= 2:
        return _area(sorted(inside), corner)
    archive = Archive(corner)
    for point in sorted(inside):
        archive.add(point)
    return archive.volume


def exclusive_volume(point: Point, others: Iterable[Point], reference: Point) -> float:
    """Volume that `point` dominates and none of `others` does.

    What the others take from it is the volume of the others moved to where it ends, and so on, down
    to nothing (the recursion of WFG: While, Bradstreet and Barone, 2012).
    """
    if not all(x < r for x, r in zip(point, reference, strict=True)):
        return 0.0
    limited = [tuple(map(max, point, other)) for other in others]
    return float(prod(map(sub, reference, point))) - hypervolume(limited, reference)


def _area(points: list[Point], reference: Point) -> float:
    """Length or area that ascending points dominate: strips from one to the next."""
    if len(reference) == 1:
        return reference[0] - points[0][0] if points else 0.0
    area, top = 0.0, reference[1]
    for x, y in points:
        if y < top:
            area += (reference[0] - x) * (top - y)
            top = y
    return area
