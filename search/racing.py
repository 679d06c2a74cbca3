"""Racing: archs that lose anyway are stopped before they have seen all images.

An arch meets the images in parts. After each part it is compared, image by image, with the best
arch that costs no more; once that one is better with a stated error, the rest cannot bring the arch
onto the front. A test of paired differences (Maron and Moore, "Hoeffding races", NIPS 1993; here
with a normal bound), which knows that the split is finite: what is unseen is all that is uncertain.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, NamedTuple

from search.checks import check_error
from search.objectives import Objective
from search.problem import Problem
from space.arch import Arch
from space.utils.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

# Parts of the split, and images without which no difference counts.
PARTS = 8
FEWEST = 30
# `kl` is left out: a few images make up most of it, and the normal bound does not hold.
RACED = ("top1", "top5", "cross_entropy")

Values = Mapping[str, "Tensor"]


@dataclass(frozen=True)
class Race:
    """What archs are compared by.

    Args:
        problem: of the search.
        error: probability that an arch is stopped that is better on the whole split than what it
            is compared with.

    Raises:
        InputError: no such probability, or a problem in which other metrics count too.
    """

    problem: Problem
    error: float

    def __post_init__(self) -> None:
        check_error(self.error)
        measured = self.problem.measured
        if len(measured) != 1 or self.problem.budget.constraints or measured[0] not in RACED:
            raise InputError(
                f"search.racing: needs one measured objective, of {', '.join(RACED)}, and no "
                f"constraint on a metric; this search measures {', '.join(measured) or 'none'}"
            )

    @property
    def objective(self) -> Objective:
        """That is measured."""
        return next(each for each in self.problem.objectives if each.measured)

    @property
    def least(self) -> float:
        """By how many standard errors a difference counts, in each of the looks at a split."""
        return NormalDist().inv_cdf(1 - self.error / (PARTS - 1))

    def costs(self, arch: Arch) -> tuple[float, ...]:
        """The other objectives, all to be minimised."""
        known = self.problem.costs(arch)
        others = (each for each in self.problem.objectives if not each.measured)
        return tuple(each.sign * known[each.name] for each in others)


def race_of(problem: Problem, error: float | None) -> Race | None:
    """The race of a search; none without an error rate.

    Raises:
        InputError: see `Race`.
    """
    return None if error is None else Race(problem, error)


class Whole(NamedTuple):
    """An arch that has seen all images.

    Args:
        costs: as `Race.costs` gives them.
        values: its metrics of each image, (n,).
        loss: the mean of the measured objective, to be minimised.
    """

    costs: tuple[float, ...]
    values: Values
    loss: float


class Rivals:
    """The front of the archs that have seen all images, and what it says of others.

    Args:
        race: what archs are compared by.
        count: images of the split.
    """

    def __init__(self, race: Race, count: int) -> None:
        self._race = race
        self._count = count
        self._least = race.least
        self._front: list[Whole] = []

    def of(self, costs: tuple[float, ...]) -> Whole | None:
        """The best of those that cost no more, if any."""
        cheaper = (each for each in self._front if _no_more(each.costs, costs))
        return min(cheaper, key=lambda each: each.loss, default=None)

    def beaten(self, values: Values, rival: Whole) -> bool:
        """Whether an arch is worse on the whole split, as far as its first images tell."""
        name, sign = self._race.objective.name, self._race.objective.sign
        own = values[name]
        return loses(sign * (own - rival.values[name][: len(own)]), self._count, self._least)

    def remember(self, costs: tuple[float, ...], values: Values) -> None:
        """Take note of an arch that has seen all images."""
        objective = self._race.objective
        new = Whole(costs, values, objective.sign * values[objective.name].mean().item())
        # What fails, by a metric or by a cost, is nobody's rival.
        if not all(map(math.isfinite, (new.loss, *costs))):
            return
        if not any(_beats(each, new) for each in self._front):
            self._front = [each for each in self._front if not _beats(new, each)] + [new]


def estimated(values: Values, rival: Whole) -> dict[str, float]:
    """The metrics of an arch over the whole split, from its first images.

    They are the rival's, and the mean difference so far: so what was stopped is never on a front
    beside what stopped it.
    """
    return {
        name: (rival.values[name].mean() + (own - rival.values[name][: len(own)]).mean()).item()
        for name, own in values.items()
    }


def loses(worse: Tensor, count: int, least: float) -> bool:
    """Whether the mean over all `count` images is above zero, judged by the first of them.

    Args:
        worse: by how much each of the first images is worse, (n,).
        count: images of the split.
        least: standard errors that the mean of the first must be above zero.
    """
    n = len(worse)
    if not FEWEST <= n < count:
        return False
    error = worse.std().item() * math.sqrt(1 / n - 1 / count)
    return worse.mean().item() > least * error


def _no_more(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return all(a <= b for a, b in zip(one, other, strict=True))


def _beats(one: Whole, other: Whole) -> bool:
    """Whether one is at least as good in everything."""
    return one.loss <= other.loss and _no_more(one.costs, other.costs)
