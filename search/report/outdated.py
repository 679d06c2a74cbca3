"""Retrained networks that a search has since found something better for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from search.budget import amount_of
from search.front import Front, FrontEntry
from search.report.choices import RANDOM, Choice
from search.report.searches import FRONT
from search.stages.choosing import best_within, folder_of, named
from space.errors import InputError
from space.space import SearchSpace


def mark_outdated(choices: Sequence[Choice], front: Front) -> list[Choice]:
    """The retrained networks, those with what the front now has for their budget as `better`.

    Args:
        choices: the retrained networks.
        front: of their search, as it is now.
    """
    return [replace(each, better=_better(each, front)) for each in choices]


def describe_outdated(
    choices: Sequence[Choice], front: Front, folder: Path, space: SearchSpace | None
) -> list[str]:
    """What else a longer search has overtaken, in a line each.

    These are budgets without a network of their own, because another one's was their best too, and
    networks chosen from fewer random archs than the search has evaluated since.

    Args:
        choices: The retrained networks.
        front: Of their search, as it is now.
        folder: Of that search.
        space: That was searched, where it is known.
    """
    names, archs = {each.name for each in choices}, {each.arch for each in choices}
    budgets = dict.fromkeys(budget for each in choices for budget in each.recipe.get("budgets", []))
    lines = [
        f"Within {budget} the search has since found a better arch "
        f"({best.metrics['macs'] / front.full['macs']:.0%} of the MACs) than those retrained, "
        "which is not yet retrained; `tokennas retrain CONFIG` does."
        for budget in budgets
        if budget not in names
        and (best := _best(budget, front)) is not None
        and best.arch not in archs
    ]
    for each in choices:
        path = folder / folder_of(each.name) / FRONT
        if not each.name.startswith(RANDOM) or not path.exists():
            continue
        count = Front.load(path).evaluations
        if count < front.evaluations and not _are_all(count, each.name, front, space):
            lines.append(
                f"{each.name} is the best of {count:,} random archs, the search has evaluated "
                f"{front.evaluations:,}; `tokennas retrain CONFIG` draws as many, where there are."
            )
    return lines


def _are_all(count: int, name: str, front: Front, space: SearchSpace | None) -> bool:
    """Whether no more than so many archs are within the budget of a random network."""
    cost, amount = named(name.removeprefix(RANDOM))
    if cost != "macs" or space is None:
        return False
    most = amount_of(cost, amount, front.full[cost])
    return space.mac_bands.count(0, most).value <= count


def _better(choice: Choice, front: Front) -> FrontEntry | None:
    """The best of the front within a network's budget, where that is another arch."""
    if choice.full or choice.hand_made or choice.name not in choice.recipe.get("budgets", []):
        return None
    best = _best(choice.name, front)
    return None if best is None or best.arch == choice.arch else best


def _best(budget: str, front: Front) -> FrontEntry | None:
    """The best of the front within a budget, where the front knows its cost."""
    try:
        return best_within(front, budget)
    except InputError:
        # The front does not know the cost any more, or is of another space.
        return None
