"""What can be known to be wrong of a whole run before its first stage starts."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from search.budget import parse_budget
from search.config import Config
from search.costs import FREE_COSTS
from search.database import check_driver
from search.feasible import Feasible
from search.folder import RunFolder
from search.latency.costs import latency_costs, make_problem
from search.latency.table import LatencyTable
from search.problem import Problem
from search.samplers import parse_sampler
from search.searchfile import SEARCH_FILE
from search.stages.choosing import Choice, named, stage_of
from search.stages.exporting import check_formats
from search.stages.places import VALUES
from search.stages.setup import TRAINED, prepare
from search.stages.tables import latency_tables
from space.utils.errors import InputError


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
    tables = latency_tables(config, folder)
    problem = make_problem(space, wanted.objectives, wanted.budget, directions, tables)
    unknown = [name for name in problem.measured if name not in setup.task.directions]
    if unknown:
        known = ", ".join(setup.task.directions)
        raise InputError(f"search.objectives: {unknown[0]!r} is not measured; these are: {known}")
    Feasible(space, problem.budget).check(np.random.default_rng(config.seed))
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
        try:
            _check_budget(text, problem, tables)
        except InputError as error:
            raise InputError(f"retrain.budgets[{number}]: {error}") from None
    folder.check("supernet", TRAINED)
    # Last, as it takes longest.
    setup.check_images(folder)


def _check_budget(text: str, problem: Problem, tables: Iterable[LatencyTable]) -> None:
    """Refuse a budget that no arch can keep, or that the search's front will know nothing of."""
    if problem.ranked_by is None:
        names = ", ".join(each.name for each in problem.objectives)
        raise InputError(
            f"no objective of the search ({names}) is measured, so that no subnet is the best; add "
            "a metric to search.objectives, such as top1, or leave the budgets empty"
        )
    name, amount = named(text)
    space = problem.space
    if name != "macs":
        if name not in (*FREE_COSTS, *problem.latencies):
            raise InputError(f"the search has no {name!r} to go by; budget it in search.budget")
        costs = {**FREE_COSTS, **latency_costs(tables, space)}
        budget = parse_budget(f"{name}={amount}", space, costs=costs)
        Feasible(space, budget).check(np.random.default_rng(0))
        return
    (limit,) = parse_budget(f"macs={amount}", space).limits
    low = space.mac_bands.low
    if limit.most < low:
        raise InputError(
            f"no arch is within {text}; the smallest takes "
            f"{low / space.mac_bands.high:.0%} of the MACs"
        )
