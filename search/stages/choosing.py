"""Which networks are retrained: the full one, the best within each budget, hand-made ones."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from search.budget import parse_budget, quantity
from search.config import Config
from search.front import Front
from space.arch import Arch
from space.baselines import baselines
from space.errors import InputError
from space.files import load_arch
from space.space import SearchSpace


@dataclass(frozen=True)
class Choice:
    """A network to retrain.

    Args:
        name: what people call it: `50%`.
        arch: what it is.
    """

    name: str
    arch: Arch

    @property
    def folder(self) -> str:
        """The name without what a shell would take for its own: `baseline_two_pools_50`."""
        return re.sub(r"[^\w.-]+|^\.*$", "_", self.name.replace("%", ""))


def given(paths: list[str], space: SearchSpace) -> list[Choice]:
    """Arch files as choices, called as they are.

    Raises:
        InputError: one is not right, or not in the space.
    """
    choices = [Choice(Path(path).stem, load_arch(path)) for path in paths]
    for path, choice in zip(paths, choices, strict=True):
        reasons = space.violations(choice.arch)
        if reasons:
            raise InputError(f"{path}: not in the space of this run: {reasons[0]}")
    folders = [choice.folder for choice in choices]
    for path, folder in zip(paths, folders, strict=True):
        if folders.count(folder) > 1:
            raise InputError(f"{path}: another of the files is called {folder} too; rename one")
    return choices


def stage_of(config: Config, choice: Choice) -> str:
    """The stage of the run whose folder a choice has."""
    return f"retrain/{config.search.name}/{choice.folder}"


def choose(
    config: Config, front: Front, space: SearchSpace, tell: Callable[[str], None]
) -> Iterator[Choice]:
    """The full network, the front's best within each budget, and hand-made archs of the same.

    Args:
        config: of the run.
        front: of its search.
        space: that was searched.
        tell: is told, in a line, of budgets that have the same best.

    Raises:
        InputError: the front has nothing within a budget.
    """
    wanted = config.retrain
    seen: dict[Arch, str] = {}
    if wanted.full:
        seen[space.largest()] = "full"
        yield Choice("full", space.largest())
    for budget in wanted.budgets:
        limit = parse_budget(f"macs={budget}", space).limits[0].most
        best = front.best(macs=limit)
        if best is None:
            least = min((entry.metrics["macs"] for entry in front.entries), default=math.nan)
            raise InputError(
                f"retrain.budgets: the front has no subnet within {budget}; its smallest has "
                f"{quantity(least)} MACs, {least / front.full['macs']:.0%}; search longer, or with "
                f"a budget of macs={budget}"
            )
        if best.arch in seen:
            tell(f"the best within {budget} is {seen[best.arch]!r} too: retrained once")
        else:
            seen[best.arch] = budget
            yield Choice(budget, best.arch)
        for baseline in baselines(space, macs=limit) if wanted.baselines else ():
            if baseline.arch is not None and baseline.arch not in seen:
                seen[baseline.arch] = f"baseline {baseline.name} {budget}"
                yield Choice(seen[baseline.arch], baseline.arch)
