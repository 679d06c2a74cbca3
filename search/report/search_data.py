"""What the plots of a search show: hypervolumes, and how often archs pool, share and skip."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from search.hypervolume import hypervolume_steps, signed, worst_values
from search.report.search_result import SearchResult
from space.arch import Arch
from space.space import SearchSpace

SAMPLES = 1000


@dataclass(frozen=True)
class HypervolumeCurve:
    """Hypervolume over evaluations.

    Args:
        evaluations: Where the curve ends.
        steps: (evaluations, hypervolume) wherever it grew; the hypervolume as a share of the box
            between the worst and the best value of each objective.
    """

    evaluations: int
    steps: Sequence[tuple[int, float]]


def hypervolume_curves(searches: Sequence[SearchResult]) -> list[HypervolumeCurve]:
    """The curve of each search, all from one reference point and in one unit.

    Of a search whose evaluations are out of reach, its front knows the curve; it stands alone.
    """
    front, objectives = searches[0].front, searches[0].front.objectives
    if searches[0].records:
        records = [record for search in searches for record in search.records]
        reference = worst_values(records, objectives)
        values = [record.values for record in records if record.inside and record.values]
        curves = [
            (len(search.records), hypervolume_steps(search.records, objectives, reference))
            for search in searches
        ]
    else:
        reference, values = front.reference, [entry.values for entry in front.entries]
        curves = [(front.evaluations, list(front.steps))]
    points = [signed(each, objectives) for each in values]
    best = [min(column) for column in zip(*points, strict=True)]
    # Without any point there are no steps either.
    corner = signed(reference, objectives) if points else ()
    box = prod(worst - least for worst, least in zip(corner, best, strict=True))
    return [
        HypervolumeCurve(count, [(at, volume / box if box else 0.0) for at, volume in steps])
        for count, steps in curves
    ]


@dataclass(frozen=True)
class Usage:
    """How often archs pool, share and skip.

    Args:
        archs: Number of archs.
        pool, share, skip: Share of the archs that do so at each block.
        top_pools, top_skips: The most used poolings and skips.
    """

    archs: int
    pool: Sequence[float]
    share: Sequence[float]
    skip: Sequence[float]
    top_pools: Sequence[str]
    top_skips: Sequence[str]


def count_usage(archs: Sequence[Arch]) -> Usage:
    """Count what archs of one depth choose; at least one arch."""
    choices = [
        [(block.pool is not None, block.shared, block.skip > 0) for block in arch.blocks]
        for arch in archs
    ]
    pool, share, skip = np.mean(choices, axis=0).T.tolist()
    pools: Counter[str] = Counter()
    skips: Counter[str] = Counter()
    for arch in archs:
        pools.update({str(block.pool) for block in arch.blocks if block.pool is not None})
        skips.update({f"{block.skip:.0%}" for block in arch.blocks if block.skip})
    top_pools, top_skips = (
        [name for name, _ in counter.most_common(3)] for counter in (pools, skips)
    )
    return Usage(len(archs), pool, share, skip, top_pools, top_skips)


def sample_usage(space: SearchSpace, limit: float | None, seed: int = 0) -> Usage:
    """Count the same of archs drawn uniformly: from the whole space, or within a limit of MACs."""
    rng = np.random.default_rng(seed)
    band = None if limit is None else (0.0, limit)
    return count_usage([space.sample(rng, macs=band) for _ in range(SAMPLES)])
