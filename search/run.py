"""`run_search`: a search over any callable that evaluates archs."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search.evaluators.base import OrderingEvaluator, evaluate_safely, order_jobs
from search.front.front import Front
from search.front.front_file import FRONT
from search.latency.costs import Objectives, make_problem, read_tables
from search.latency.table import LatencyTable
from search.problem.budget import Budgets
from search.problem.objectives import DEFAULT, Evaluate
from search.problem.problem import Problem
from search.study.options import SearchOptions
from search.study.origin import Origin, describe_origin
from search.study.samplers import DEFAULT as DEFAULT_SAMPLER
from search.study.samplers import SamplerChoice, parse_sampler
from search.study.search import Search
from search.study.search_file import read_origin
from search.study.session import OnProgress, open_search
from search.study.status import reporting_status
from search.utils.resources import Workers
from space.arch import Arch
from space.space import SearchSpace
from space.utils.errors import InputError, shown
from supernet.tasks.registry import directions as task_directions

if TYPE_CHECKING:
    from search.evaluators.supernet import MetricFunction, SupernetEvaluator
    from supernet.models.supernet import Supernet
    from supernet.tasks.base import Task

MakeEvaluate = Callable[[], Evaluate]


def run_search(
    supernet: Supernet | None = None,
    space: SearchSpace | None = None,
    *,
    loader: Iterable[Any] | None = None,
    metric: MetricFunction | None = None,
    task: Task | None = None,
    evaluate: Evaluate | None = None,
    make_evaluate: MakeEvaluate | None = None,
    problem: Problem | None = None,
    objectives: Objectives = DEFAULT,
    budget: Budgets = None,
    directions: Mapping[str, str] | None = None,
    trials: int = 200,
    sampler: str | Mapping[str, Any] | SamplerChoice = DEFAULT_SAMPLER,
    seed: int = 0,
    folder: str | Path | None = None,
    initial: Iterable[Arch] | None = None,
    origin: Origin = None,
    on_event: OnProgress | None = None,
    options: SearchOptions | None = None,
    **moved: Any,
) -> Front:
    """Search a space inside a budget; return the front, also saved in the folder (docs/search.md).

    Args:
        supernet: A trained supernet, evaluated on `loader`; or else give `space` and `evaluate`.
        space: The search space; by default the supernet's.
        loader: Batches of (images, targets), read once.
        metric: Metrics by name from outputs and targets, a tensor each; by default the task's.
        task: The task of the supernet; by default classification.
        evaluate: Function from arch to metrics by name; an exception or NaN fails that arch alone.
        make_evaluate: Factory of `evaluate`, called in each process that evaluates.
        problem: A ready problem, in place of space, objectives, budget and directions.
        objectives: Names of metrics and costs; other metrics with a direction: `iou=max`.
        budget: `"macs=0.8G"`, `"macs=60%, params=12M"` or `{"macs": 0.8e9}`.
        directions: Direction of each metric, by name.
        trials: Number of finished evaluations, failed and earlier ones included.
        sampler: Name of an Optuna sampler, or a mapping of `name` and its arguments.
        seed: Seed of every random choice.
        folder: Folder of the results, to resume from; None to keep them in memory.
        initial: Archs to start from, instead of a ladder over the budget and hand-made archs.
        origin: Name of the evaluation; a folder of another origin is refused.
        on_event: Function called with the progress after evaluations.
        options: Workers, time limit, storage, searches to reuse, latency tables.

    Raises:
        InputError: A value is invalid, or all evaluations failed.
        KeyboardInterrupt: Ctrl-C; finished evaluations are stored, once one has succeeded.
    """
    options = _merge_moved(options or SearchOptions(), moved)
    problem = _problem(problem, supernet, space, (objectives, budget, directions), options)
    known = describe_origin(origin, metric if supernet else evaluate or make_evaluate)
    if supernet is not None:
        other, paths = evaluate or make_evaluate, [*([folder] if folder else []), *options.reuse]
        evaluate = judge = _on_supernet(supernet, loader, metric, task, other=other, paths=paths)
        known |= judge.origin() if folder else {}  # origins of results in memory are never compared
    path, sampled = None if folder is None else Path(folder), parse_sampler(sampler)
    search = Search(problem, sampled, trials, seed, path, _archs(initial), known, options)
    return _run(search, _make_factory(evaluate, make_evaluate), on_event or (lambda progress: None))


def _problem(
    ready: Problem | None,
    supernet: Supernet | None,
    space: SearchSpace | None,
    wanted: tuple[Objectives, Budgets, Mapping[str, str] | None],
    options: SearchOptions,
) -> Problem:
    """Return the ready problem, or make one from the other arguments."""
    objectives, budget, directions = wanted
    if ready is not None:
        if (space, *wanted) != (None, DEFAULT, None, None):
            raise InputError(
                "run_search: a problem comes alone, since it has a space, objectives, a budget and "
                "directions of its own"
            )
        return ready
    if space is None and supernet is not None:
        space = supernet.space
    if space is None:
        raise InputError("run_search needs a supernet or a space")
    stated = task_directions() if directions is None else directions
    return make_problem(space, objectives, budget, stated, read_tables(options.latency))


def _archs(initial: Iterable[Arch] | None) -> tuple[Arch, ...] | None:
    if initial is not None and not isinstance(initial, Iterable):
        raise InputError(f"initial: must be a list of archs, got {shown(initial)}")
    return None if initial is None else tuple(initial)


def _run(search: Search, make_evaluate: MakeEvaluate, on_event: OnProgress) -> Front:
    """Run a search to its end, in this process or on workers, and save its front."""
    options = search.options
    with reporting_status(search.folder, on_event) as report:
        if options.workers == 0:
            front = search_here(search, make_evaluate, report)
        else:
            # Ray is slow to import, and not needed without workers.
            from search.distributed.tune import search_with_workers  # noqa: PLC0415

            cpus, gpus = options.cpus_per_worker, options.gpus_per_worker
            workers = Workers(options.workers, cpus, gpus, options.ray, options.prefix)
            front = search_with_workers(search, make_evaluate, report, workers)
    if search.folder is not None:
        front.save(search.folder / FRONT)
    return front


def _merge_moved(options: SearchOptions, moved: Mapping[str, Any]) -> SearchOptions:
    """Return the options with values that were arguments of `run_search` in earlier versions."""
    values = dict(moved)
    for name, value in moved.items():
        if isinstance(value, Workers):
            values["workers"], values["ray"] = value.count, value.ray
            values |= {"cpus_per_worker": value.cpus, "gpus_per_worker": value.gpus}
        elif name in ("reuse", "latency") and isinstance(value, str | Path | LatencyTable):
            values[name] = [value]
    options = replace(options, **values)
    for name in moved:
        warnings.warn(
            f"run_search({name}=...) goes with the next version; give "
            f"options=SearchOptions({name}=...)",
            DeprecationWarning,
            stacklevel=3,
        )
    return options


def search_here(search: Search, make_evaluate: MakeEvaluate, on_event: OnProgress) -> Front:
    """Run a search in this process, one evaluation after the other, group by group."""
    with open_search(search) as session:
        study = session.study
        jobs = study.take_group(1)
        # Without jobs, weights need not be loaded.
        evaluate = make_evaluate() if jobs else None
        most = search.sampler.ahead if isinstance(evaluate, OrderingEvaluator) else 1
        on_event(session.progress())
        while jobs and evaluate is not None:
            group = order_jobs(evaluate, jobs)
            for job in group:
                study.finish(job, evaluate_safely(evaluate, job.arch, search.options.time_limit))
                if job is group[-1]:
                    jobs = study.take_group(most)
                on_event(session.progress())
        return Front.of(search.problem, study.records, study.ended or "")


def _on_supernet(
    supernet: Supernet,
    loader: Iterable[Any] | None,
    metric: MetricFunction | None,
    task: Task | None,
    *,
    other: object,
    paths: Iterable[str | Path],
) -> SupernetEvaluator:
    # A search over a callable does not need torch.
    from search.evaluators.supernet import loader_evaluator  # noqa: PLC0415

    if loader is None or other is not None:
        raise InputError("run_search: a supernet is judged on a loader, and by nothing else")
    if not isinstance(loader, Iterable):
        raise InputError(f"loader: must give batches of (images, targets), got {shown(loader)}")
    return loader_evaluator(supernet, loader, metric, task, read_origin(map(Path, paths)))


def _make_factory(evaluate: Evaluate | None, make_evaluate: MakeEvaluate | None) -> MakeEvaluate:
    if evaluate is not None and make_evaluate is None:
        return _ReadyEvaluate(evaluate)
    if evaluate is None and make_evaluate is not None:
        return make_evaluate
    raise InputError("run_search needs evaluate or make_evaluate, one of the two")


@dataclass(frozen=True)
class _ReadyEvaluate:
    """A factory that returns a ready callable; a class, so that it can be sent to workers."""

    evaluate: Evaluate

    def __call__(self) -> Evaluate:
        return self.evaluate

    @property
    def shares(self) -> bool:
        """Whether evaluations of archs with equal leading blocks share work."""
        return isinstance(self.evaluate, OrderingEvaluator)
