"""Leads: the distance of each arch of a front to the next best, and its standard error."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple, Protocol, TypeVar

from search.problem.evaluation import Record
from search.problem.objectives import Objective
from search.problem.paired_error import standard_error
from search.utils.console import is_share

INSIGNIFICANT = "≈"


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
        percent = is_share(self.name)
        texts = [f"{100 * x:.2f}%" if percent else f"{x:.2g}" for x in (self.ahead, self.error)]
        return f"{mark}{texts[0]} ±{texts[1]}"


class _Judged(Protocol):
    @property
    def identity(self) -> str: ...
    @property
    def metrics(self) -> Mapping[str, float]: ...


class _OfFront(_Judged, Protocol):
    @property
    def error(self) -> float | None: ...


T = TypeVar("T", bound=_Judged)


def compute_leads(entries: Iterable[_OfFront], score: Objective | None) -> dict[str, Lead]:
    """Return the known leads in the ranking objective, by identity."""
    if score is None:
        return {}
    return {
        one.identity: Lead(
            score.name, abs(one.metrics[score.name] - other.metrics[score.name]), one.error
        )
        for one, other in pairwise(_ranked(entries, score))
        if one.error is not None
    }


def describe_leads(leads: Iterable[Lead | None]) -> str:
    """Summarise the leads of a front, of which at least one is known, in a sentence."""
    known = [lead for lead in leads if lead is not None]
    close = sum(not lead.is_significant for lead in known)
    return (
        f"Lead: difference in {known[0].name} to the next best arch of the front, ± its standard "
        f"error over the same images; {close} of {len(known)} are not significant "
        f"({INSIGNIFICANT}), under two standard errors."
    )


def compute_lead_errors(
    records: Sequence[Record], score: Objective | None
) -> tuple[dict[str, float | None], int | None]:
    """Compute the leads' standard errors by identity, and the number of images, where known."""
    if score is None:
        return {}, None
    groups = {each.identity: each.groups.get(score.name) for each in records}
    errors = {
        one.identity: standard_error(groups[one.identity], groups[other.identity])
        for one, other in pairwise(_ranked(records, score))
    }
    counts = {each.images for each in groups.values() if each is not None}
    return errors, counts.pop() if len(counts) == 1 else None


def _ranked(archs: Iterable[T], score: Objective) -> list[T]:
    """Sort archs by the measured objective, the best first."""
    known = (each for each in archs if score.name in each.metrics)
    return sorted(known, key=lambda each: score.sign * each.metrics[score.name])
