"""Which choices archs make, block by block."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from space.arch import Arch
from space.space import SearchSpace

DRAWS = 1000


class Usage(NamedTuple):
    """How often some archs pool, share and skip.

    Args:
        archs: how many.
        pool, share, skip: share of the archs that do so at each block.
        most: the commonest poolings and skips, with the share of the archs that have them.
    """

    archs: int
    pool: tuple[float, ...]
    share: tuple[float, ...]
    skip: tuple[float, ...]
    most: dict[str, list[tuple[str, float]]]


def usage(archs: Sequence[Arch]) -> Usage:
    """Count the choices of archs of one depth; at least one arch."""
    made = np.array(
        [
            [(block.pool is not None, block.shared, block.skip > 0) for block in arch.blocks]
            for arch in archs
        ]
    ).mean(axis=0)
    pools: Counter[str] = Counter()
    skips: Counter[str] = Counter()
    for arch in archs:
        pools.update({str(block.pool) for block in arch.blocks if block.pool is not None})
        skips.update({f"{block.skip:.0%}" for block in arch.blocks if block.skip})
    most = {
        name: [(choice, count / len(archs)) for choice, count in counter.most_common(3)]
        for name, counter in (("pool", pools), ("skip", skips))
    }
    pool, share, skip = (tuple(map(float, column)) for column in made.T)
    return Usage(len(archs), pool, share, skip, most)


def usage_of_space(space: SearchSpace, limit: float | None, seed: int = 0) -> Usage:
    """The same for archs drawn uniformly: from the whole space, or within a limit of MACs."""
    rng = np.random.default_rng(seed)
    band = None if limit is None else (0.0, limit)
    return usage([space.sample(rng, macs=band) for _ in range(DRAWS)])
