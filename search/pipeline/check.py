"""Checks of all stages of a run before the first one starts."""

from __future__ import annotations

import numpy as np

from search.pipeline.choose import check_names, split_budget, stage_path
from search.pipeline.context import SUPERNET_SECTIONS, RunContext
from search.pipeline.export import check_formats
from search.pipeline.network_folder import RETRAIN_SECTIONS
from search.problem.costs import FREE_COSTS, LATENCY
from search.problem.feasible import FeasibleArchs
from search.study.database import check_driver
from search.study.samplers import parse_sampler
from search.study.search_file import SEARCH_FILE
from space.utils.errors import InputError, naming, near


def check(run: RunContext) -> None:
    """Refuse a config whose search or retraining would fail after hours of training.

    Raises:
        InputError: A value is invalid; the message names its key.
    """
    config, folder, search = run.config, run.folder, run.config.search
    check_formats(config)
    run.open()
    # The archs to retrain are not known yet, but their folders are.
    names = list(dict.fromkeys(["full"] * config.retrain.full + config.retrain.budgets))
    check_names(names)
    retrained = {stage_path(config, name): RETRAIN_SECTIONS for name in names}
    folder.check_all({"supernet": SUPERNET_SECTIONS, **retrained})
    parse_sampler({"name": search.sampler, **search.sampler_args})
    check_problem(run)
    if search.storage is not None:
        check_driver(search.storage)
    for workers in (config.search_workers(), config.retrain_workers()):
        if workers:
            # Imported here: Ray takes seconds to load.
            from search.distributed.connect import check_ray  # noqa: PLC0415

            check_ray(workers.ray)
    for name in search.reuse:
        if not (folder.search.with_name(name) / SEARCH_FILE).exists():
            raise InputError(f"search.reuse: there is no search {name!r} in {folder.search.parent}")
    # Last, as it takes longest.
    run.check_images()


def check_search(run: RunContext) -> None:
    """Refuse a sampler, objectives and budgets that no search knows, before a long training.

    Whether archs are inside the budgets is left to the search, and so are milliseconds, whose
    tables may be measured later.

    Raises:
        InputError: A name or an amount is invalid.
    """
    search = run.config.search
    parse_sampler({"name": search.sampler, **search.sampler_args})
    if LATENCY not in f"{search.objectives} {search.budget}":
        _check_metrics(run)


def check_problem(run: RunContext) -> tuple[FeasibleArchs, ...]:
    """Refuse objectives and budgets, of the search and of retraining, that no search can have.

    Returns:
        The archs inside the budget of the search, and inside each one of retraining.

    Raises:
        InputError: A value is invalid, or no arch meets a budget.
    """
    _check_metrics(run)
    config, problem = run.config, run.problem
    feasible = [FeasibleArchs(run.space, problem.budget)]
    feasible[0].check(np.random.default_rng(config.seed))
    for number, text in enumerate(config.retrain.budgets):
        with naming(f"retrain.budgets[{number}]"):
            feasible.append(_check_budget(text, run))
    return tuple(feasible)


def _check_metrics(run: RunContext) -> None:
    metrics = run.task.directions
    unknown = [name for name in run.problem.required_metrics if name not in metrics]
    if unknown:
        raise InputError(
            f"search.objectives: {unknown[0]!r} is no metric of the task; these are: "
            f"{', '.join(metrics)}"
        )


def _check_budget(text: str, run: RunContext) -> FeasibleArchs:
    """Refuse a budget that no arch can meet, or whose cost the front will not have."""
    problem = run.problem
    if problem.ranked_by is None:
        names = ", ".join(each.name for each in problem.objectives)
        raise InputError(
            f"no objective of the search ({names}) is a metric, so that no subnet is the best; add "
            "a metric to search.objectives, such as top1, or leave the budgets empty"
        )
    name, amount = split_budget(text)
    if ".." in amount:
        raise InputError(f"must be one amount, such as {name}={amount.split('..')[-1]}, got {text}")
    costs = [*FREE_COSTS, *problem.latencies]
    if name not in costs:
        hint = near(name, costs) or "; limit it in search.budget"
        raise InputError(f"the search has no cost {name!r}{hint}")
    budget = run.problem_within(f"{name}={amount}").budget
    feasible = FeasibleArchs(run.space, budget)
    feasible.check(np.random.default_rng(0))
    if any(limit.least for limit in problem.budget.limits):
        # Its lower limits may leave the front no arch within this budget.
        both = FeasibleArchs(run.space, problem.budget.within(budget))
        both.check(np.random.default_rng(0))
    return feasible
