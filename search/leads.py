"""How far the archs of a front are ahead of each other, and whether chance explains it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple, Protocol, TypeVar

from search.chance import standard_error
from search.objectives import Objective
from search.record import Record


class Lead(NamedTuple):
    """By how much an arch of a front is better than the next best one.

    Args:
        ahead: difference in the measured objective, over 0 for better.
        error: its standard error, paired over the images.
    """

    ahead: float
    error: float

    @property
    def told_apart(self) -> bool:
        """Whether it is over two standard errors, so that chance hardly explains it."""
        return self.ahead > 2 * self.error


class _Judged(Protocol):
    @property
    def identity(self) -> str: ...
    @property
    def metrics(self) -> Mapping[str, float]: ...


class _OfFront(_Judged, Protocol):
    @property
    def error(self) -> float | None: ...


T = TypeVar("T", bound=_Judged)


def leads_of(entries: Iterable[_OfFront], objectives: Sequence[Objective]) -> dict[str, Lead]:
    """The leads that are known, by identity."""
    score = _score(objectives)
    if score is None:
        return {}
    return {
        one.identity: Lead(abs(one.metrics[score.name] - other.metrics[score.name]), one.error)
        for one, other in pairwise(_ranked(entries, score))
        if one.error is not None
    }


def errors_of(
    records: Sequence[Record], objectives: Sequence[Objective]
) -> tuple[dict[str, float | None], int | None]:
    """Standard errors of the leads by identity, and how many images there are, where known."""
    score = _score(objectives)
    if score is None:
        return {}, None
    groups = {each.identity: each.groups.get(score.name) for each in records}
    errors = {
        one.identity: standard_error(groups[one.identity], groups[other.identity])
        for one, other in pairwise(_ranked(records, score))
    }
    counts = {each.images for each in groups.values() if each is not None}
    return errors, counts.pop() if len(counts) == 1 else None


def _score(objectives: Iterable[Objective]) -> Objective | None:
    """The first objective that is measured, if any."""
    return next((each for each in objectives if each.measured), None)


def _ranked(archs: Iterable[T], score: Objective) -> list[T]:
    """Archs, the best in the measured objective first."""
    known = (each for each in archs if score.name in each.metrics)
    return sorted(known, key=lambda each: score.sign * each.metrics[score.name])
