"""Feasible archs: a check that any meet the budget, and uniform draws of unseen ones."""

from __future__ import annotations

from collections.abc import Callable, Container
from functools import cached_property

import numpy as np

from search.problem.budget import Budget, Limit
from search.utils.units import quantity
from space.arch import Arch
from space.counting.bands import Bands, Count
from space.counting.graph import list_archs
from space.space import SearchSpace
from space.utils.errors import InputError

MAX_LISTED = 20_000
QUICK_DRAWS = 1_000
MAX_DRAWS = 10_000


class FeasibleArchs:
    """The archs of a space inside every budget on a free cost."""

    def __init__(self, space: SearchSpace, budget: Budget) -> None:
        self.space = space
        self.budget = budget
        # Draws before the archs are listed; those of a small space are listed at once.
        self._quick_draws = 0 if space.size() <= MAX_LISTED else QUICK_DRAWS

    def check(self, rng: np.random.Generator) -> None:
        """Refuse budgets that no arch meets, before anything is evaluated.

        Exact for one budget on a cost that is a sum over blocks. Otherwise random draws and a
        bounded enumeration look for an arch.

        Raises:
            InputError: No arch meets the budget; the message gives the range of the space.
        """
        for limit, bands in self._bands:
            if limit.ceiling < bands.low:
                # A budget this small, without a unit, was probably meant in per cent.
                bare = limit.name in ("macs", "backbone_macs", "params") and limit.most <= 100
                hint = f"; per cents are written as {limit.name}=70%" if bare else ""
                raise InputError(
                    f"budget {limit}: no arch is that cheap; {self._describe_ranges()}{hint}"
                )
            if limit.floor > 0:
                try:
                    bands.sample(rng, limit.floor, limit.ceiling)
                except InputError:
                    raise InputError(
                        f"budget {limit}: no arch has such a cost; {self._describe_ranges()}"
                    ) from None
        if len(self._bands) == len(self.budget.limits) < 2:
            return
        if self.draw(rng, ()) is None:
            failure = "no arch is" if self.listed is not None else "no arch was found"
            raise InputError(f"budget {self.budget}: {failure} inside; {self._describe_ranges()}")

    def count(self) -> Count | None:
        """Count the archs inside every budget; None where they are too many to enumerate.

        Exact for one budget on a cost that is a sum over blocks, where its sums fit in memory.
        """
        if len(self._bands) == len(self.budget.limits) == 1:
            limit, bands = self._bands[0]
            return bands.count(limit.floor, limit.ceiling)
        return None if self.listed is None else Count(len(self.listed), exact=True)

    def draw(self, rng: np.random.Generator, seen: Container[str]) -> Arch | None:
        """Draw uniformly from the unseen archs inside the budget; None if none is found.

        Args:
            rng: Random generator.
            seen: Identities of the archs to exclude.
        """
        for attempt in range(MAX_DRAWS):
            if attempt == self._quick_draws and self.listed is not None:
                self._quick_draws = 0
                unseen = [arch for identity, arch in self.listed if identity not in seen]
                return unseen[int(rng.integers(len(unseen)))] if unseen else None
            arch = self._sample(rng)
            if self.budget.inside(arch) and self.space.identity(arch) not in seen:
                return arch
        return None

    @cached_property
    def listed(self) -> list[tuple[str, Arch]] | None:
        """Identities and archs inside the budget; None if they are too many to enumerate."""
        limits = [(limit.additive, limit.ceiling) for limit in self.budget.limits if limit.additive]
        archs = list_archs(self.space.graph, limits, MAX_LISTED)
        if archs is None:
            return None
        return [(self.space.identity(arch), arch) for arch in archs if self.budget.inside(arch)]

    @cached_property
    def _bands(self) -> list[tuple[Limit, Bands]]:
        """The additive budgets, each with the space's archs counted by that cost."""
        pairs = []
        for limit in self.budget.limits:
            if limit.name == "macs":
                pairs.append((limit, self.space.mac_bands))
            elif limit.additive is not None:
                pairs.append((limit, Bands(self.space.graph, limit.additive)))
        return pairs

    @cached_property
    def _sample(self) -> Callable[[np.random.Generator], Arch]:
        """A function that draws uniformly inside the tightest additive budget."""
        if not self._bands:
            return self.space.sample
        tightest, bands = self._bands[0]
        if len(self._bands) > 1:
            tightest, bands = min(
                self._bands, key=lambda pair: pair[1].count(pair[0].floor, pair[0].ceiling).value
            )
        return lambda rng: bands.sample(rng, tightest.floor, tightest.ceiling)

    def _describe_ranges(self) -> str:
        """Format the range of each budgeted cost over the space, for error messages."""
        full = self.space.largest()
        parts = [
            f"{limit.name}={quantity(bands.low / limit.units)} "
            f"({bands.low / limit.units / (limit.cost(full) or 1):.0%} of the full network's) to "
            f"{quantity(bands.high / limit.units)}"
            for limit, bands in self._bands
        ]
        smallest = self.space.smallest()
        parts += [
            f"{limit.name}={quantity(limit.cost(smallest))} (its arch of fewest MACs)"
            for limit in self.budget.limits
            if limit.additive is None
        ]
        return "the space reaches from " + ", ".join(parts)
