"""Leads: the distance of each arch of a front to the next best, and its standard error."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

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


def describe_leads(leads: Iterable[Lead | None]) -> str:
    """Summarise the leads of a front, of which at least one is known, in a sentence."""
    known = [lead for lead in leads if lead is not None]
    close = sum(not lead.is_significant for lead in known)
    return (
        f"Lead: difference in {known[0].name} to the next best arch of the front, ± its standard "
        f"error over the same images; {close} of {len(known)} are not significant "
        f"({INSIGNIFICANT}), under two standard errors."
    )
