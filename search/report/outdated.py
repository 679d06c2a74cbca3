"""What a search that went on has overtaken: retrained networks that are no longer its best."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from search.budget import amount_of, quantity
from search.config import SearchConfig
from search.front import Front
from search.frontfile import FRONT, FrontEntry
from search.report.choices import RANDOM, Choice
from search.report.measures import Score
from search.report.searches import SearchResult
from search.stages.choosing import best_within, folder_of, named
from space.utils.errors import InputError


def mark_outdated(choices: Sequence[Choice], front: Front) -> list[Choice]:
    """The retrained networks, those with what the front now has for their budget as `better`.

    Args:
        choices: the retrained networks.
        front: of their search, as it is now.
    """
    return [replace(each, better=_better(each, front)) for each in choices]


@dataclass(frozen=True)
class Outdated:
    """Says what a search has overtaken.

    Args:
        run: Folder of the run.
        search: The search, as it is now.
        choices: Its retrained networks, as `mark_outdated` gives them.
        wanted: The section `retrain` of the search's config.
        score: What networks are judged by.
    """

    run: Path
    search: SearchResult
    choices: Sequence[Choice]
    wanted: Mapping[str, Any]
    score: Score

    def describe(self) -> Iterator[str]:
        """A line each: outdated networks, budgets without a network, and too few random archs."""
        for each in self.choices:
            if each.better is not None:
                yield (
                    f"{each.name} is no longer the best: the search has since found a better arch "
                    f"({self._figures(each.better)}), which is {self._retrained(each)}."
                )
        names = {each.name for each in self.choices}
        if names.isdisjoint(self._budgets):
            return
        for budget in self._budgets:
            best = self._missing(budget)
            if best is not None:
                yield (
                    f"The best within {budget} ({self._figures(best)}) is not retrained; "
                    f"`{self._command()}` does."
                )
        for each in self.choices:
            yield from self._few_random(each)

    @property
    def _budgets(self) -> list[str]:
        budgets = self.wanted.get("budgets")
        return [str(each) for each in budgets] if isinstance(budgets, list) else []

    def _retrained(self, choice: Choice) -> str:
        """What is to be said of the arch that is better than a network."""
        assert choice.better is not None
        for each in self.choices:
            if each.arch == choice.better.arch:
                return f"retrained as {each.name}"
        budgets = () if choice.name in self._budgets else (choice.name,)
        return f"not yet retrained; `{self._command(*budgets)}` does"

    def _missing(self, budget: str) -> FrontEntry | None:
        """The best within a budget that has no network, finished or not, where none is the best."""
        place = self.run / "retrain" / self.search.name / folder_of(budget)
        if place.exists() or any(each.name == budget for each in self.choices):
            return None
        best = _best(budget, self.search.front)
        archs = {each.arch for each in self.choices}
        return None if best is None or best.arch in archs else best

    def _few_random(self, choice: Choice) -> Iterator[str]:
        """A line where a random network was chosen of fewer archs than the search evaluated."""
        budget = choice.name.removeprefix(RANDOM)
        path = self.run / "search" / self.search.name / folder_of(choice.name) / FRONT
        wanted = choice.name != budget and self.wanted.get("random") and budget in self._budgets
        if not wanted or not path.exists():
            return
        count, front = Front.load(path).evaluations, self.search.front
        if count < front.evaluations and not self._are_all(count, budget):
            yield (
                f"{choice.name} is the best of {count:,} random archs, the search has evaluated "
                f"{front.evaluations:,}; `{self._command()}` draws as many, where there are."
            )

    def _are_all(self, count: int, budget: str) -> bool:
        """Whether no more than so many archs are within a budget, as far as it can be said."""
        cost, amount = named(budget)
        if cost != "macs" or self.search.space is None:
            return False
        most = amount_of(cost, amount, self.search.front.full[cost])
        return self.search.space.mac_bands.count(0, most).value <= count

    def _figures(self, entry: FrontEntry) -> str:
        value = self.score.text(entry.metrics.get(self.score.name))
        macs = f"{quantity(entry.metrics['macs'])} MACs"
        name = self.score.title.removesuffix(" (%)")
        return f"{macs}, {name} {value} on the search split" if value else macs

    def _command(self, *budgets: str) -> str:
        """What retrains the networks of the config, or those within budgets."""
        words = ["tokennas", "retrain", str(self.run)]
        if self.search.name != SearchConfig.name:
            words += ["--search.name", self.search.name]
        if budgets:
            words += ["--retrain.budgets", f"[{', '.join(budgets)}]"]
        return shlex.join(words)


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
