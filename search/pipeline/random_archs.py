"""The baseline of a search: the best of as many random archs within the same budget."""

from __future__ import annotations

import numpy as np

from search.pipeline.choose import Purpose, best_within, split_budget, to_folder_name
from search.pipeline.context import RunContext
from search.pipeline.search import search_supernet, shown_progress
from search.problem.feasible import FeasibleArchs
from space.arch import Arch
from space.space import SearchSpace


def best_random(run: RunContext, count: int, budget: str) -> Arch:
    """Return the best of `count` random archs within a budget, evaluated on the search split.

    The evaluations are stored in a folder beside the search.

    Raises:
        InputError: No arch is within the budget, or none could be evaluated.
    """
    limit, name = "=".join(split_budget(budget)), str(Purpose("random", budget))
    problem = run.problem_within(limit)
    feasible = FeasibleArchs(run.space, problem.budget)
    archs = draw_distinct(feasible, run.space, count, run.config.search_seed)
    with shown_progress(run.console, name) as shown:
        front = search_supernet(
            run,
            problem,
            {"storage": None, "reuse": []},
            trials=len(archs),
            sampler="RandomSampler",
            initial=archs,
            folder=run.folder.search / to_folder_name(name),
            on_event=shown,
        )
    return best_within(front, budget).arch


def draw_distinct(feasible: FeasibleArchs, space: SearchSpace, count: int, seed: int) -> list[Arch]:
    """Draw `count` distinct archs uniformly within a budget, or all if there are fewer."""
    # The tag separates these draws from the search's own with the same seed.
    rng = np.random.default_rng((seed, 0xA2C))
    found: dict[str, Arch] = {}
    while len(found) < count and (arch := feasible.draw(rng, found)) is not None:
        found[space.identity(arch)] = arch
    return list(found.values())
