"""What can be known to be wrong of a whole run before its first stage starts."""

from __future__ import annotations

import numpy as np

from search.latency.costs import latency_costs
from search.pipeline.choose import check_names, split_budget, stage_path
from search.pipeline.context import TRAINED, RunContext
from search.pipeline.export import check_formats
from search.pipeline.network_folder import VALUES
from search.problem.budget import parse_budget
from search.problem.costs import FREE_COSTS
from search.problem.feasible import FeasibleArchs
from search.study.database import check_driver
from search.study.samplers import parse_sampler
from search.study.search_file import SEARCH_FILE
from space.utils.errors import InputError, naming


def check(run: RunContext) -> None:
    """Refuse a config whose search or retraining could not be done, before hours of training.

    Raises:
        InputError: the key, its value, and what would be right.
    """
    config, folder, wanted = run.config, run.folder, run.config.search
    check_formats(config)
    known = run.open().task.directions
    parse_sampler({"name": wanted.sampler, **wanted.sampler_args})
    problem = run.problem
    unknown = [name for name in problem.measured if name not in known]
    if unknown:
        raise InputError(
            f"search.objectives: {unknown[0]!r} is not measured; these are: {', '.join(known)}"
        )
    FeasibleArchs(run.space, problem.budget).check(np.random.default_rng(config.seed))
    if wanted.storage is not None:
        check_driver(wanted.storage)
    for workers in (config.evaluators(), config.retrainers()):
        if workers:
            # Ray is imported where it is used.
            from search.distributed.connect import check_ray  # noqa: PLC0415

            check_ray(workers.ray)
    for name in wanted.reuse:
        if not (folder.search.with_name(name) / SEARCH_FILE).exists():
            raise InputError(f"search.reuse: there is no search {name!r} in {folder.search.parent}")
    # Which archs the choices are is not known yet; the folders that they go to are.
    names = ["full"] * config.retrain.full + config.retrain.budgets
    check_names(names)
    for name in names:
        folder.check(stage_path(config, name), VALUES)
    for number, text in enumerate(config.retrain.budgets):
        with naming(f"retrain.budgets[{number}]"):
            _check_budget(text, run)
    folder.check("supernet", TRAINED)
    # Last, as it takes longest.
    run.check_images()


def _check_budget(text: str, run: RunContext) -> None:
    """Refuse a budget that no arch can keep, or that the search's front will know nothing of."""
    space, problem = run.space, run.problem
    if problem.ranked_by is None:
        names = ", ".join(each.name for each in problem.objectives)
        raise InputError(
            f"no objective of the search ({names}) is measured, so that no subnet is the best; add "
            "a metric to search.objectives, such as top1, or leave the budgets empty"
        )
    name, amount = split_budget(text)
    if name not in (*FREE_COSTS, *problem.latencies):
        raise InputError(f"the search has no {name!r} to go by; budget it in search.budget")
    costs = {**FREE_COSTS, **latency_costs(run.tables, space)}
    budget = parse_budget(f"{name}={amount}", space, costs=costs)
    FeasibleArchs(space, budget).check(np.random.default_rng(0))
