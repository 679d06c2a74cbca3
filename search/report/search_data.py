"""What the plots of a search show: hypervolumes, and how often archs pool, share and skip."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from search.hypervolume import hypervolume_steps, signed, worst_values
from search.report.search_result import SearchResult
from space.arch import Arch, BlockArch
from space.space import SearchSpace

SAMPLES = 1000
# What a block chooses of each kind.
CHOICES: Mapping[str, Callable[[BlockArch], str | bool | None]] = {
    "pool": lambda block: str(block.pool) if block.pool else None,
    "share attention": lambda block: block.shared,
    "skip tokens": lambda block: f"{block.skip:.0%}" if block.skip else None,
}


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


def compute_hypervolumes(searches: Sequence[SearchResult]) -> list[HypervolumeCurve]:
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
    """How often archs make a kind of choice.

    Args:
        title: What they do: pool, share attention or skip tokens.
        shares: Share of the archs that do so at each block.
        most_used: What they choose most often, where there is more than one choice.
    """

    title: str
    shares: Sequence[float]
    most_used: Sequence[str]


def count_usage(archs: Sequence[Arch]) -> list[Usage]:
    """Count each kind of choice of archs of one depth; at least one arch."""
    usages = []
    for title, choose in CHOICES.items():
        choices = [[choose(block) for block in arch.blocks] for arch in archs]
        once = (dict.fromkeys(row) for row in choices)
        counts = Counter(each for row in once for each in row if isinstance(each, str))
        shares = [sum(map(bool, column)) / len(archs) for column in zip(*choices, strict=True)]
        usages.append(Usage(title, shares, [name for name, _ in counts.most_common(3)]))
    return usages


def sample_usage(space: SearchSpace, limit: float | None, seed: int = 0) -> list[Usage]:
    """Count the same of archs drawn uniformly: from the whole space, or within a limit of MACs."""
    rng = np.random.default_rng(seed)
    band = None if limit is None else (0.0, limit)
    return count_usage([space.sample(rng, macs=band) for _ in range(SAMPLES)])
