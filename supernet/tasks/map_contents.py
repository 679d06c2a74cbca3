"""What maps hold, in words: their distances, or their labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from supernet.tasks.base import Array

NAMED = 8  # classes, the most frequent ones


def describe_distances(maps: Sequence[Array]) -> str:
    """Describe distances in metres, 0 where there is no measurement."""
    metres = np.concatenate([each[each > 0] for each in maps])
    missing = 1 - len(metres) / sum(each.size for each in maps)
    return (
        f"depths of {len(maps)} maps: {metres.min():.3g} to {metres.max():.3g} m, median "
        f"{np.median(metres):.3g}; {missing:.0%} of the pixels without measurement, or beyond the "
        "limits of the task"
    )


def describe_labels(maps: Sequence[Array], classes: Sequence[str]) -> str:
    """Describe labels; those beyond the classes are ignored ones."""
    counts = np.bincount(np.concatenate([each.ravel() for each in maps]), minlength=len(classes))
    shares, known = counts / counts.sum(), len(classes)
    found = [i for i in np.argsort(-shares[:known], kind="stable").tolist() if shares[i]]
    named = [f"{classes[i]}: {shares[i]:.0%}" for i in found[:NAMED]]
    named += [f"{len(found) - NAMED} more"] if len(found) > NAMED else []
    return (
        f"labels of {len(maps)} maps: {len(found)} of {known} classes ({', '.join(named)}); "
        f"{shares[known:].sum():.0%} of the pixels ignored"
    )
