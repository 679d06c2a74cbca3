"""What can be known to be wrong of a whole run before its first stage starts."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from search.budget import parse_budget
from search.config import Config
from search.database import check_driver
from search.feasible import Feasible
from search.folder import RunFolder
from search.objectives import parse_objectives
from search.problem import Problem
from search.samplers import parse_sampler
from search.searchfile import NAME as SEARCH_FILE
from search.stages.choosing import Choice, stage_of
from search.stages.exporting import check_formats
from search.stages.places import VALUES
from search.stages.setup import prepare
from space.errors import InputError


def check(config: Config, file: Path | None) -> None:
    """Refuse a config whose search or retraining could not be done, before hours of training.

    Raises:
        InputError: the key, its value, and what would be right.
    """
    check_formats(config)
    folder = RunFolder(config, file)
    setup = prepare(config, folder)
    space, wanted = setup.supernet.space, config.search
    parse_sampler({"name": wanted.sampler, **wanted.sampler_args})
    directions = setup.task.directions
    objectives = parse_objectives(wanted.objectives, directions)
    budget = parse_budget(wanted.budget, space, objectives, directions)
    problem = Problem(space, objectives, budget)
    unknown = [name for name in problem.measured if name not in setup.task.directions]
    if unknown:
        known = ", ".join(setup.task.directions)
        raise InputError(f"search.objectives: {unknown[0]!r} is not measured; these are: {known}")
    Feasible(space, budget).check(np.random.default_rng(config.seed))
    if wanted.storage is not None:
        check_driver(wanted.storage)
    for workers in (config.evaluators(), config.retrainers()):
        if workers:
            # Ray is imported where it is used.
            from search.cluster.connecting import check_ray  # noqa: PLC0415

            check_ray(workers.ray)
    searches = folder.stage("search")
    for name in wanted.reuse:
        if not (searches / name / SEARCH_FILE).exists():
            raise InputError(f"search.reuse: there is no search {name!r} in {searches}")
    # Which archs the choices are is not known yet; the folders that they go to are.
    names = ["full"] * config.retrain.full + config.retrain.budgets
    for name in names:
        folder.check(stage_of(config, Choice(name, space.largest())), VALUES)
    for number, text in enumerate(config.retrain.budgets):
        (limit,) = parse_budget(f"macs={text}", space).limits
        low = space.mac_bands.low
        if limit.most < low:
            raise InputError(
                f"retrain.budgets[{number}]: no arch is within {text}; the smallest takes "
                f"{low / space.mac_bands.high:.0%} of the MACs"
            )
