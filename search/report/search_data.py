"""The data of a search's plots: hypervolumes, and how often archs use each operator."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress
from math import prod
from typing import NamedTuple

import numpy as np

from search.front.hypervolume import apply_signs, build_archive, worst_values
from search.report.search_result import SearchResult
from space.arch import Arch
from space.operators.registry import operators
from space.space import SearchSpace

SAMPLES = 1000


class HypervolumeCurve(NamedTuple):
    """Hypervolume over evaluations.

    Args:
        evaluations: Number of evaluations.
        steps: (evaluations, hypervolume) at each increase; the hypervolume as a share of the box
            between the worst and the best value of each objective.
    """

    evaluations: int
    steps: Sequence[tuple[int, float]]


def compute_hypervolumes(searches: Sequence[SearchResult]) -> list[HypervolumeCurve]:
    """Compute the curve of each search, with the same reference point and unit.

    If the first search has no records here, return only its curve, as stored in its front.
    """
    front, objectives = searches[0].front, searches[0].front.objectives
    if searches[0].records:
        records = [record for search in searches for record in search.records]
        reference = worst_values(records, objectives)
        values = [record.values for record in records if record.meets_constraints and record.values]
        curves = [
            (len(search.records), build_archive(search.records, objectives, reference)[1])
            for search in searches
        ]
    else:
        reference, values = front.reference, [entry.values for entry in front.entries]
        curves = [(front.evaluations, list(front.steps))]
    points = [apply_signs(each, objectives) for each in values]
    best = [min(column) for column in zip(*points, strict=True)]
    # Without points there are no steps.
    corner = apply_signs(reference, objectives) if points else ()
    box = prod(high - low for high, low in zip(corner, best, strict=True))
    return [
        HypervolumeCurve(count, [(at, volume / box if box else 0.0) for at, volume in steps])
        for count, steps in curves
    ]


class Usage(NamedTuple):
    """Usage of an operator in archs.

    Args:
        title: Title of the operator, such as "skip tokens".
        shares: Share of the archs that use it, by block.
    """

    title: str
    shares: Sequence[float]


def count_usage(archs: Sequence[Arch]) -> list[Usage]:
    """Count the use of each operator in one or more archs of equal depth."""
    usages = []
    for each in operators():
        used = [[each.choice(block) != each.plain for block in arch.blocks] for arch in archs]
        usages.append(Usage(each.title, np.mean(used, axis=0).tolist()))
    return usages


def drop_unused(
    front: Sequence[Usage], others: Sequence[Usage] | None
) -> tuple[list[Usage], list[Usage] | None]:
    """Drop the operators that no arch uses, as where the space lacks them."""
    used = [
        any(each.shares) or (others is not None and any(others[k].shares))
        for k, each in enumerate(front)
    ]
    return list(compress(front, used)), None if others is None else list(compress(others, used))


def sample_usage(space: SearchSpace, floor: float, limit: float | None) -> list[Usage]:
    """Count the use of each operator in archs drawn uniformly, with MACs inside the limits."""
    rng = np.random.default_rng(0)
    band = None if limit is None else (floor, limit)
    return count_usage([space.sample(rng, macs=band) for _ in range(SAMPLES)])
