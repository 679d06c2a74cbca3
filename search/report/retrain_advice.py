"""Advice on what to retrain again after a search has found better archs."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from search.front.front import Front
from search.front.front_file import FrontEntry
from search.pipeline.choose import best_within, to_folder_name
from search.pipeline.config import SearchConfig
from search.report.networks import Network
from search.report.search_result import Score, SearchResult
from search.utils.units import quantity
from space.utils.errors import InputError


def mark_outdated(networks: Sequence[Network], front: Front) -> list[Network]:
    """Set each retrained network's `better` to the front's best within its budget."""
    return [replace(each, better=_find_better(each, front)) for each in networks]


def advise_retraining(
    run: Path,
    search: SearchResult,
    networks: Sequence[Network],
    budgets: Sequence[str],
    score: Score,
) -> Iterator[str]:
    """Yield a line on each outdated network, and on each budget whose best has no network.

    Args:
        run: Folder of the run.
        search: The current search.
        networks: Its retrained networks, from `mark_outdated`.
        budgets: The budgets to retrain for, from the search's config.
        score: The metric that networks are judged by.
    """
    command = format_command("retrain", str(run), search.name)
    names = {each.arch: each.name for each in networks}
    retrained = {each.name for each in networks}
    for each in networks:
        if each.better is not None:
            state = "not yet retrained"
            if each.better.arch in names:
                state = f"retrained as {names[each.better.arch]}"
            elif each.name in budgets:
                state += f"; `{command}` does"
            yield (
                f"{each.name} is no longer the best: the search has since found a better arch "
                f"({_describe(each.better, score)}), which is {state}."
            )
    if retrained.isdisjoint(budgets):
        return  # Arch files were retrained, not the best within budgets.
    for budget in budgets:
        folder = run / "retrain" / search.name / to_folder_name(budget)
        best = _find_best(search.front, budget)
        begun = budget in retrained or folder.exists()
        if best is not None and best.arch not in names and not begun:
            described = _describe(best, score)
            yield f"The best within {budget} ({described}) is not retrained; `{command}` does."


def format_command(stage: str, run: str, search: str) -> str:
    """Format the command of a stage of a run; the default search is not named."""
    words = ["tokennas", stage, run]
    words += [] if search == SearchConfig.name else ["--search.name", search]
    return shlex.join(words)


def _describe(entry: FrontEntry, score: Score) -> str:
    value = score.format(entry.metrics)
    macs = f"{quantity(entry.metrics['macs'])} MACs"
    return f"{macs}, {score.title} {value} on the search split" if value else macs


def _find_better(network: Network, front: Front) -> FrontEntry | None:
    """Return the front's best within a network's budget, if that is another arch."""
    best = _find_best(front, network.name) if network.name in network.budgets else None
    return None if best is None or best.arch == network.arch else best


def _find_best(front: Front, budget: str) -> FrontEntry | None:
    try:
        return best_within(front, budget)
    except InputError:
        # The front no longer has the cost, or has no subnet within the budget.
        return None
