"""Standard errors of the difference between two archs evaluated on the same images.

An evaluation keeps a metric's means over a few groups of the images, the same groups for every
arch: a few hundred bytes, while a value per image would take thousands. The variance per image is
estimated from the spread of the groups' paired differences (the method of batch means). Metrics
that are no means, such as mIoU, have the jackknife's pseudo-values in place of these means.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from search.utils.console import is_share

Floats = NDArray[np.float64]

# With 64 groups the standard error has an error of 9 % itself. With fewer images, each is a group.
GROUPS = 64
DIGITS = 6
MAX_IMAGES = 1 << 53
INSIGNIFICANT = "≈"


# Function from statistics per image to metrics.
Reduce = Callable[[Mapping[str, Floats]], dict[str, float]]


class GroupMeans(NamedTuple):
    """A metric of one arch, by groups of the images.

    Args:
        images: Number of images in all groups.
        means: Mean of the metric over each group.
    """

    images: int
    means: tuple[float, ...]


class GroupedMetrics(dict[str, float]):
    """Metrics by name, with their means over groups of the images.

    Args:
        metrics: Means over all images, by name.
        groups: Means over groups, by name; only of metrics where they are known.
    """

    def __init__(
        self, metrics: Iterable[Any] = (), groups: Mapping[str, GroupMeans] | None = None
    ) -> None:
        super().__init__(metrics)
        self.groups = groups or {}

    @classmethod
    def of(cls, reduce: Reduce, statistics: Mapping[str, Floats]) -> GroupedMetrics:
        """Make the metrics of a split, with their groups.

        Args:
            reduce: Function from statistics to metrics.
            statistics: Statistics per image, (images, ...), by name.
        """
        metrics, groups = reduce(statistics), {}
        for name in (name for name in metrics if name in statistics):
            values = statistics[name]
            # A mean in float32, or summed in another order, differs by less than this.
            if values.ndim == 1 and math.isclose(metrics[name], values.mean(), rel_tol=1e-4):
                groups[name] = group_means(values)
        if groups.keys() < metrics.keys():
            groups = {**_jackknife(reduce, statistics, metrics), **groups}
        return cls(metrics, groups)


def read_groups(value: object) -> dict[str, GroupMeans]:
    """Read stored groups by metric; unreadable ones are left out."""
    groups = {}
    for name, each in value.items() if isinstance(value, Mapping) else ():
        match each:
            case [int(images), list(means)] if all(isinstance(mean, float) for mean in means):
                if 0 < images < MAX_IMAGES:
                    groups[str(name)] = GroupMeans(images, tuple(means))
    return groups


def groups_of(metrics: object) -> Mapping[str, GroupMeans]:
    """Return the group means of metrics; empty for a plain mapping."""
    return metrics.groups if isinstance(metrics, GroupedMetrics) else {}


def group_means(values: Floats) -> GroupMeans:
    """Compute a metric's means over groups of the images from its values, (images,)."""
    sums = np.bincount(_assign_groups(len(values)), weights=values)
    means = np.round(sums / _group_sizes(len(values)), DIGITS)
    return GroupMeans(len(values), tuple(means.tolist()))


def _jackknife(
    reduce: Reduce, statistics: Mapping[str, Floats], metrics: Mapping[str, float]
) -> dict[str, GroupMeans]:
    """Compute the pseudo-value of each group, for metrics that are no mean of a statistic.

    It is n / n_g times the metric, less (n - n_g) / n_g times that without the group: for a mean,
    the mean over the group.
    """
    images = len(next(iter(statistics.values())))
    sizes, groups = _group_sizes(images), _assign_groups(images)
    if len(sizes) < 2:
        return {}
    without: list[Mapping[str, float]] = []
    for g in range(len(sizes)):
        try:
            without.append(reduce({name: each[groups != g] for name, each in statistics.items()}))
        except Exception:  # as where a group has all images with a target, or with some class
            return {}
    pseudo: dict[str, GroupMeans] = {}
    for name, value in metrics.items():
        left = np.array([each.get(name, math.nan) for each in without])
        means = (images * value - (images - sizes) * left) / sizes
        if np.isfinite(means).all():
            pseudo[name] = GroupMeans(images, tuple(np.round(means, DIGITS).tolist()))
    return pseudo


def errors_of_metrics(metrics: GroupedMetrics) -> dict[str, float]:
    """Return the standard errors of a network's own metrics, as far as they are known."""
    errors = {}
    for name, group in metrics.groups.items():
        error = standard_error(group, GroupMeans(group.images, (0.0,) * len(group.means)))
        if error is not None:
            errors[name] = error
    return errors


def standard_error(one: GroupMeans | None, other: GroupMeans | None) -> float | None:
    """Compute the standard error of the difference between two archs' means.

    None if it is unknown: for different numbers of images, or for too few.
    """
    if one is None or other is None or one.images != other.images:
        return None
    sizes = _group_sizes(one.images)
    if not len(one.means) == len(other.means) == len(sizes) > 1:
        return None
    differences = np.subtract(one.means, other.means)
    mean = np.average(differences, weights=sizes)
    variance = float(np.sum(sizes * (differences - mean) ** 2) / (len(sizes) - 1))
    error = math.sqrt(variance / one.images)
    return error if math.isfinite(error) else None


@lru_cache(maxsize=8)
def _assign_groups(images: int) -> NDArray[Any]:
    """Assign each image to a group, (images,).

    At random, since images may come sorted by class.
    """
    return np.random.default_rng(0).permutation(images) % min(GROUPS, images)


def _group_sizes(images: int) -> NDArray[Any]:
    """Count the images of each group, (groups,)."""
    count = min(GROUPS, images)
    return images // count + (np.arange(count) < images % count)


class Lead(NamedTuple):
    """The gap between an arch of a front and the next best one.

    Args:
        name: Name of the measured objective.
        ahead: Absolute difference in that objective.
        error: Standard error of the difference, paired over the images.
    """

    name: str
    ahead: float
    error: float

    @property
    def is_significant(self) -> bool:
        """Whether the gap exceeds two standard errors, so that chance hardly explains it."""
        return self.ahead > 2 * self.error

    def __str__(self) -> str:
        mark = "" if self.is_significant else f"{INSIGNIFICANT} "
        if is_share(self.name):
            # Differences of shares are points, not per cent of one of them.
            return f"{mark}{100 * self.ahead:.2f} ±{100 * self.error:.2f} points"
        return f"{mark}{self.ahead:.2g} ±{self.error:.2g}"


def describe_leads(leads: Iterable[Lead | None]) -> str:
    """Summarise the leads of a front, of which at least one is known, in a sentence."""
    known = [lead for lead in leads if lead is not None]
    close = sum(not lead.is_significant for lead in known)
    return (
        f"Lead: difference in {known[0].name} to the next best arch of the front, ± its standard "
        f"error over the same images; {close} of {len(known)} are not significant "
        f"({INSIGNIFICANT}), under two standard errors."
    )
