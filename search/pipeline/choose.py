"""Choice of the networks to retrain: the full one, the best within each budget, and controls."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from search.front.front import Front
from search.front.front_file import FrontEntry
from search.pipeline.config import Config
from search.pipeline.named_archs import read_archs
from search.problem.budget import parse_amount
from search.problem.costs import mac_limit, measured_name
from space.arch import Arch
from space.baselines import baselines
from space.space import SearchSpace
from space.utils.errors import InputError

# `50%`, `latency_ms@cpu=60%`, `macs=0.8G`
BUDGET_PATTERN = r"[\w.@-]+ ?= ?\d[\w.+-]* ?%?|\d[\d.]* ?[%kMGT]"


@dataclass(frozen=True)
class Purpose:
    """Purpose of a retrained network, which its name encodes.

    Args:
        kind: The full network, the front's best within a budget, a control (a hand-made arch or
            the best of random ones), or a given arch file.
        budget: The budget; empty where there is none.
        label: The family of a hand-made arch, or the name of an arch file.
    """

    kind: Literal["full", "best", "baseline", "random", "file"]
    budget: str = ""
    label: str = ""

    def __str__(self) -> str:
        prefix = self.kind if self.kind in ("full", "baseline", "random") else ""
        return " ".join(filter(None, (prefix, self.label, self.budget)))

    @classmethod
    def parse(cls, name: str) -> Purpose:
        """Parse the name of a network."""
        if name == "full":
            return cls("full")
        if re.fullmatch(BUDGET_PATTERN, name):
            return cls("best", name)
        if match := re.fullmatch(r"random (.+)", name):
            return cls("random", match[1])
        if match := re.fullmatch(rf"baseline (.+?)(?: ({BUDGET_PATTERN}))?", name):
            return cls("baseline", match[2] or "", match[1])
        return cls("file", label=name)


@dataclass(frozen=True)
class Choice:
    """A network to retrain.

    Args:
        name: Name of the network, such as `50%`.
        arch: Its arch.
    """

    name: str
    arch: Arch


def load_choices(paths: list[str], space: SearchSpace) -> list[Choice]:
    """Return the archs of arch files, fronts and folders as choices with the files' names.

    Raises:
        InputError: A file is invalid, or an arch is not in the space.
    """
    choices = []
    for each in read_archs(paths):
        if reasons := space.violations(each.file.arch):
            raise InputError(f"{each.path}: not in the space of this run: {reasons[0]}")
        choices.append(Choice(each.name, each.file.arch))
    return choices


def check_names(names: Iterable[str]) -> None:
    """Refuse names of networks that would share a folder.

    Raises:
        InputError: Two networks would share a folder.
    """
    folders = list(map(to_folder_name, names))
    for folder in folders:
        if folders.count(folder) > 1:
            raise InputError(f"two networks would share the folder {folder}; rename one of them")


def split_budget(budget: str) -> tuple[str, str]:
    """Split a budget into cost and amount; a bare amount such as `50%` is of the MACs."""
    name, equals, amount = (part.strip() for part in budget.rpartition("="))
    return (name, amount) if equals else ("macs", amount)


def to_folder_name(name: str) -> str:
    """Replace the characters of a name that are special to shells."""
    return re.sub(r"[^\w.-]+|^\.*$", "_", name.replace("%", ""))


def stage_path(config: Config, name: str) -> str:
    """Return the folder of a choice, relative to the run."""
    return f"retrain/{config.search.name}/{to_folder_name(name)}"


def choose(
    config: Config,
    front: Front,
    space: SearchSpace,
    report: Callable[[str], None],
    best_of_random: Callable[[str], Arch],
) -> list[Choice]:
    """Choose the full network, and for each budget the front's best and the controls.

    Args:
        config: Config of the run.
        front: Front of its search.
        space: The searched space.
        report: Called with a line for each choice that is skipped as a duplicate.
        best_of_random: Returns the best of random archs within a budget.

    Raises:
        InputError: The front has no subnet within a budget.
    """
    retrain = config.retrain
    choices = [Choice(str(Purpose("full")), space.largest())] if retrain.full else []
    for budget in retrain.budgets:
        best = best_within(front, budget)
        choices.append(Choice(str(Purpose("best", budget)), best.arch))
        if retrain.baselines:
            limit = _mac_limit(front, budget, best)
            choices += [
                Choice(str(Purpose("baseline", budget, each.name)), each.arch)
                for each in baselines(space, limit)
                if each.arch is not None
            ]
        if retrain.random:
            choices.append(Choice(str(Purpose("random", budget)), best_of_random(budget)))
    by_arch: dict[Arch, Choice] = {}
    for choice in choices:
        other = by_arch.setdefault(choice.arch, choice)
        if other is not choice:
            report(f"{choice.name} is the same arch as {other.name}: retrained once")
    return list(by_arch.values())


def best_within(front: Front, budget: str) -> FrontEntry:
    """Return the front's best within a budget; measured latencies take precedence.

    Args:
        front: Front of a search.
        budget: Budget such as `50%` or `latency_ms=3.0`.

    Raises:
        InputError: No subnet is within the budget, or the front does not have the cost.
    """
    name, amount = split_budget(budget)
    measured, limit, best = measured_name(name), _limit(front, budget), None
    if any(measured in entry.metrics for entry in front.entries):
        best = front.best(**{measured: limit})
    best = best or front.best(**{name: limit})
    if best is None:
        raise InputError(
            f"retrain.budgets: the front has no subnet within {budget}; search longer, or with a "
            f"budget of {name}={amount}, if the space has such archs: see tokennas inspect CONFIG"
        )
    return best


def _mac_limit(front: Front, budget: str, best: FrontEntry) -> float:
    """Return the MACs of a budget, or those of its best subnet where it limits another cost."""
    limit = mac_limit({split_budget(budget)[0]: _limit(front, budget)}, front.shape)
    return best.metrics["macs"] if limit is None else limit


def _limit(front: Front, budget: str) -> float:
    name, amount = split_budget(budget)
    if name not in front.full:
        costs = ", ".join(front.full)
        raise InputError(f"retrain.budgets: {name!r} is no cost of this front; these are: {costs}")
    return parse_amount(name, amount, front.full[name])
