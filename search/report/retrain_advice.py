"""Advice on what to retrain again, since the search has found better archs."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from search.front.front import Front
from search.front.front_file import FRONT, FrontEntry
from search.pipeline.choose import best_within, split_budget, to_folder_name
from search.pipeline.config import SearchConfig
from search.problem.budget import amount_of
from search.report.networks import Network
from search.report.score import Score
from search.report.search_result import SearchResult
from search.utils.units import quantity
from space.utils.errors import InputError


def mark_outdated(networks: Sequence[Network], front: Front) -> list[Network]:
    """Set each retrained network's `better` to the front's best within its budget."""
    return [replace(each, better=_better(each, front)) for each in networks]


@dataclass(frozen=True)
class RetrainAdvice:
    """Describes which retrained networks are outdated, and the commands to retrain them.

    Args:
        run: Folder of the run.
        search: The current search.
        networks: Its retrained networks, from `mark_outdated`.
        config: The section `retrain` of the search's config.
        score: The metric that networks are judged by.
    """

    run: Path
    search: SearchResult
    networks: Sequence[Network]
    config: Mapping[str, Any]
    score: Score

    def lines(self) -> Iterator[str]:
        """Yield a line on each outdated, missing or too narrowly chosen random network."""
        budgets = self.config.get("budgets")
        budgets = [str(each) for each in budgets] if isinstance(budgets, list) else []
        yield from self._find_outdated(budgets)
        # Without any network of a budget, arch files were retrained: no other network is missing.
        if any(each.name in budgets for each in self.networks):
            yield from self._find_missing(budgets)
            yield from self._find_few_random(budgets)

    def _find_outdated(self, budgets: Sequence[str]) -> Iterator[str]:
        names = {each.arch: each.name for each in reversed(self.networks)}
        for each in self.networks:
            if each.better is not None:
                command = self._command(*() if each.name in budgets else (each.name,))
                state = f"not yet retrained; `{command}` does"
                if each.better.arch in names:
                    state = f"retrained as {names[each.better.arch]}"
                yield (
                    f"{each.name} is no longer the best: the search has since found a better arch "
                    f"({self._describe(each.better)}), which is {state}."
                )

    def _find_missing(self, budgets: Sequence[str]) -> Iterator[str]:
        """Yield a line for each budget whose best arch has no network, finished or not."""
        archs = {each.arch for each in self.networks}
        names = {each.name for each in self.networks}
        for budget in budgets:
            folder = self.run / "retrain" / self.search.name / to_folder_name(budget)
            best = _best_within(self.search.front, budget)
            if best is None or best.arch in archs or budget in names or folder.exists():
                continue
            yield (
                f"The best within {budget} ({self._describe(best)}) is not retrained; "
                f"`{self._command()}` does."
            )

    def _find_few_random(self, budgets: Sequence[str]) -> Iterator[str]:
        """Yield a line for each network chosen among fewer random archs than were evaluated."""
        evaluations = self.search.front.evaluations
        for each in self.networks if self.config.get("random") else ():
            budget = each.purpose.budget
            path = self.run / "search" / self.search.name / to_folder_name(each.name) / FRONT
            if each.purpose.kind != "random" or budget not in budgets or not path.exists():
                continue
            count = Front.load(path).evaluations
            if count < evaluations and not self._are_all(count, budget):
                yield (
                    f"{each.name} is the best of {count:,} random archs, the search has evaluated "
                    f"{evaluations:,}; `{self._command()}` draws as many, where there are."
                )

    def _are_all(self, count: int, budget: str) -> bool:
        """Return whether a MACs budget is known to hold at most `count` archs."""
        cost, amount = split_budget(budget)
        if cost != "macs" or self.search.space is None:
            return False
        most = amount_of(cost, amount, self.search.front.full[cost])
        return self.search.space.mac_bands.count(0, most).value <= count

    def _describe(self, entry: FrontEntry) -> str:
        value = self.score.format(entry.metrics.get(self.score.name))
        macs = f"{quantity(entry.metrics['macs'])} MACs"
        return f"{macs}, {self.score.title} {value} on the search split" if value else macs

    def _command(self, *budgets: str) -> str:
        """Format the command that retrains the networks of the config, or those within budgets."""
        words = ["tokennas", "retrain", str(self.run)]
        if self.search.name != SearchConfig.name:
            words += ["--search.name", self.search.name]
        if budgets:
            words += ["--retrain.budgets", f"[{', '.join(budgets)}]"]
        return shlex.join(words)


def _better(network: Network, front: Front) -> FrontEntry | None:
    """Return the front's best within a network's budget, if that is another arch."""
    of_budget = network.name in network.recipe.get("budgets", [])
    if network.is_full or network.is_hand_made or not of_budget:
        return None
    best = _best_within(front, network.name)
    return None if best is None or best.arch == network.arch else best


def _best_within(front: Front, budget: str) -> FrontEntry | None:
    try:
        return best_within(front, budget)
    except InputError:
        # The front no longer has the cost, or has no subnet within the budget.
        return None
