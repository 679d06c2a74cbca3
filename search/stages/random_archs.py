"""What a search must beat: the best of as many random archs, drawn within the same budget."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from rich.console import Console

from search.config import Config
from search.evaluator import RunEvaluator
from search.feasible import Feasible
from search.folder import RunFolder
from search.latency.costs import make_problem
from search.stages.choosing import best_within, folder_of, named
from search.stages.searching import search_supernet, shown_progress
from search.stages.setup import Setup
from search.stages.tables import latency_tables
from space.arch import Arch
from space.space import SearchSpace


class RandomArchs:
    """Evaluates random archs on the supernet; what it has evaluated is kept beside the search.

    Args:
        config, file: Those of the run.
        setup: What its stages work with.
        count: How many archs of a budget are evaluated.
        console: Where the progress is shown.
    """

    def __init__(
        self, config: Config, file: Path | None, setup: Setup, count: int, console: Console
    ) -> None:
        self._config, self._file, self._setup = config, file, setup
        self._count, self._console = count, console

    def best(self, budget: str) -> Arch:
        """The best of the random archs within `budget`, as the search split ranks them.

        Raises:
            InputError: No arch is within it, or none could be evaluated.
        """
        config, wanted = self._config, self._config.search
        folder = RunFolder(config, self._file)
        space = self._setup.supernet.space
        tables = latency_tables(config, folder)
        limit = "=".join(named(budget))
        directions = self._setup.task.directions
        problem = make_problem(space, wanted.objectives, limit, directions, tables)
        archs = draw_distinct(
            Feasible(space, problem.budget), space, self._count, config.search_seed
        )
        name = f"random {budget}"
        with shown_progress(self._console, name) as shown:
            front = search_supernet(
                config,
                self._setup,
                folder,
                RunEvaluator(config, self._file),
                tables,
                budget=limit,
                trials=len(archs),
                sampler="RandomSampler",
                initial=archs,
                retry_failed=wanted.retry_failed,
                folder=folder.stage("search") / wanted.name / folder_of(name),
                on_event=shown,
            )
        return best_within(front, budget).arch


def draw_distinct(feasible: Feasible, space: SearchSpace, count: int, seed: int) -> list[Arch]:
    """Distinct archs drawn uniformly inside a budget: `count` of them, or all that there are."""
    rng = np.random.default_rng((seed, 0xA2C))
    found: dict[str, Arch] = {}
    while len(found) < count and (arch := feasible.draw(rng, found)) is not None:
        found[space.identity(arch)] = arch
    return list(found.values())
