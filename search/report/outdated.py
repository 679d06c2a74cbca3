"""Retrained networks that a search has since found something better for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from search.front import Front, FrontEntry
from search.report.choices import Choice
from search.stages.choosing import best_within
from space.errors import InputError


def mark_outdated(choices: Iterable[Choice], front: Front) -> list[Choice]:
    """The retrained networks, those with what the front now has for their budget as `better`.

    Args:
        choices: the retrained networks.
        front: of their search, as it is now.
    """
    return [replace(each, better=_better(each, front)) for each in choices]


def _better(choice: Choice, front: Front) -> FrontEntry | None:
    """The best of the front within a network's budget, where that is another arch."""
    if choice.full or choice.hand_made or choice.name not in choice.recipe.get("budgets", []):
        return None
    try:
        best = best_within(front, choice.name)
    except InputError:
        # The front does not know the cost any more, or is of another space.
        return None
    return None if best.arch == choice.arch else best
