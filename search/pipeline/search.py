"""Stage two: the search."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from search.front.front import Front
from search.front.front_file import FRONT
from search.latency.costs import match_tables
from search.latency.fit import TOO_FAR
from search.pipeline.choose import Purpose, best_within, split_budget, to_folder_name
from search.pipeline.config import SearchConfig
from search.pipeline.context import SUPERNET_SECTIONS, RunContext
from search.pipeline.latencies import time_front
from search.pipeline.run_evaluator import RunEvaluator, search_precision
from search.problem.feasible import FeasibleArchs
from search.problem.paired_error import describe_leads
from search.problem.problem import Problem
from search.run import run_search
from search.study.samplers import parse_sampler
from search.study.session import OnProgress, Progress
from search.utils.console import OPTIMISTIC, cell, print_line, show_rows
from search.utils.units import duration
from space.arch import Arch
from space.cost import backbone_macs
from space.utils.errors import InputError, cut
from supernet.progress import progress_bar


def search(run: RunContext) -> Front:
    """Search the space of a config on its trained supernet, and write `front.yaml`.

    Raises:
        InputError: The supernet is not trained, a value of the search is invalid, or the front is
            empty.
    """
    config, console = run.config.search, run.console
    sampler = parse_sampler({"name": config.sampler, **config.sampler_args})
    tables = run.load_trained().latency_tables
    for table in tables:
        print_line(console, f"latency_ms@{table.name}: {table.conditions}; {table.error}")
        if table.error is not None and table.error.large:
            print_line(console, TOO_FAR)
    problem = run.problem
    run.check_images()
    path = run.folder.search / FRONT
    # A search's tables never change, so measurements of its earlier front stay valid.
    earlier = Front.load(path) if tables and path.exists() else None
    # To claim a folder also stores the config; once is enough.
    store_config = cache(partial(run.folder.claim, "supernet", SUPERNET_SECTIONS, searched=True))
    first: Progress | None = None

    def on_event(progress: Progress) -> None:
        nonlocal first
        first = first or progress
        # Stored for later commands only once an evaluation has succeeded: values such as too small
        # a time limit, with which all of them fail, must not become the defaults.
        if progress.done - progress.failed > first.done - first.failed:
            store_config()
        show(progress)

    with show_progress(console) as show:
        front = run_supernet_search(
            run,
            problem,
            {"reuse": [str(run.folder.search.with_name(name)) for name in config.reuse]},
            run.folder.search,
            trials=config.trials,
            sampler=sampler,
            on_event=on_event,
        )
    if first is None or front.evaluations == first.done:
        # Nothing was left to evaluate, so no evaluation can fail because of these values.
        store_config()
    check_front(front, config)
    if tables:
        by_cost = match_tables(tables, problem.table_digests)
        front = time_front(front, earlier, run.supernet, by_cost, console)
        front.save(path)
    show_front(front, console, {limit.name: limit.most for limit in problem.budget.limits})
    return front


def run_supernet_search(
    run: RunContext, problem: Problem, options: Mapping[str, Any], folder: Path, **values: Any
) -> Front:
    """Call `run_search` on a run's supernet, with the search options of its config.

    Args:
        run: The run, whose supernet is trained.
        problem: The search problem.
        options: Search options that differ from the config's.
        folder: Folder of the results.
        values: Other arguments of `run_search`.
    """
    config, workers = run.config.search, run.config.search_workers()
    gpus = None if workers is None else workers.gpus
    # That of the search also where this one is its control.
    results = folder, run.folder.search, *map(Path, options["reuse"])
    precision = search_precision(run, results)
    return run_search(
        make_evaluate=RunEvaluator(run, precision),
        problem=problem,
        seed=run.config.search_seed,
        folder=folder,
        origin={**run.origin, **precision.origin},
        options=replace(config, gpus_per_worker=gpus, **options),
        **values,
    )


def find_best_random(run: RunContext, count: int, budget: str) -> Arch:
    """Return the best of `count` random archs within a budget, evaluated on the search split.

    The evaluations are stored in a subfolder of the search's.

    Raises:
        InputError: No arch is within the budget, or none could be evaluated.
    """
    limit, name = "=".join(split_budget(budget)), str(Purpose("random", budget))
    problem = run.problem_within(limit)
    # Also inside the search's own budget, whose archs it is compared with.
    limits = run.problem.budget.within(problem.budget).limits
    problem = replace(problem, budget=replace(problem.budget, limits=limits))
    feasible = FeasibleArchs(run.space, problem.budget)
    archs = draw_distinct(feasible, count, run.config.search_seed)
    with show_progress(run.console, name) as show:
        front = run_supernet_search(
            run,
            problem,
            {"storage": None, "reuse": []},
            run.folder.search / to_folder_name(name),
            trials=len(archs),
            sampler="RandomSampler",  # never asked: all archs are given
            initial=archs,
            on_event=show,
        )
    return best_within(front, budget).arch


def draw_distinct(feasible: FeasibleArchs, count: int, seed: int) -> list[Arch]:
    """Draw `count` distinct archs uniformly within a budget, or all if there are fewer."""
    # The tag separates these draws from the search's own with the same seed.
    rng = np.random.default_rng((seed, 0xA2C))
    archs: dict[str, Arch] = {}
    while len(archs) < count and (arch := feasible.draw(rng, archs)) is not None:
        archs[feasible.space.identity(arch)] = arch
    return list(archs.values())


def check_front(front: Front, config: SearchConfig) -> None:
    """Refuse an empty front.

    Raises:
        InputError: The front is empty.
    """
    if not front.entries:
        raise InputError(
            f"search {config.name}: the front is empty after {front.evaluations} evaluations, "
            f"{front.failed} failed: {front.ended}; give more --search.trials, or another "
            f"--search.name with a budget that archs can meet (--search.reuse '[{config.name}]' "
            "reuses the evaluations)"
        )


def show_front(front: Front, console: Console, limits: Mapping[str, float] | None = None) -> None:
    """Print a table of the front, how the search ended, and how reliable its figures are.

    Args:
        front: The front.
        console: Console to print to.
        limits: Budgets by name of the cost; subnets that are measured to exceed one are marked.
    """
    leads, leading = front.leads, ["trial", *(each.name for each in front.objectives)]
    rows, full = [], Arch.full(front.shape.depth)
    for entry, row, lead in zip(front.entries, front.rows(), leads, strict=True):
        cells = {name: row[name] for name in leading}
        if any(leads):
            cells["lead"] = "" if lead is None else str(lead)
        cells["of full"] = f"{row['macs'] / front.full['macs']:.0%}"
        if front.shape.has_dense_head:
            share = backbone_macs(entry.arch, front.shape) / backbone_macs(full, front.shape)
            cells["without head"] = f"{share:.0%}"
        excesses = [
            f"{name} is over by {entry.measured[name] / most - 1:.1%}"
            for name, most in (limits or {}).items()
            if entry.measured.get(name, 0.0) > most
        ]
        if excesses:
            cells["budget"] = ", ".join(excesses)
        rest = {name: value for name, value in row.items() if name not in leading}
        rows.append(cells | rest)
    images = f", {front.images:,} images" if front.images else ""
    show_rows(rows, console, title=f"front, on the search split{images}")
    counts = f"{front.evaluations} evaluations, {front.failed} failed"
    print_line(console, f"{counts}: {cut(front.ended)}.")
    if any(leads):
        print_line(console, describe_leads(leads))
    print_line(console, OPTIMISTIC)


@contextmanager
def show_progress(console: Console, title: str = "search") -> Iterator[OnProgress]:
    """Show a progress bar, and yield the function that updates it.

    The bar has rate, time left, best value so far, and counts of refused and repeated archs; a
    console that is not a terminal gets a line for each tenth of the search.

    Args:
        console: Console to print to.
        title: Title of the bar.
    """
    printed: set[str] = set()
    tenth: int | None = None

    def show(progress: Progress) -> None:
        nonlocal tenth
        for note in progress.notes:
            if note not in printed:
                printed.add(note)
                print_line(console, note)
        words = _describe_progress(progress)
        bar.update(task, total=progress.total, completed=progress.done, state=words)
        before, tenth = tenth, 10 * progress.done // progress.total
        if before is not None and tenth > before and not console.is_terminal:
            print_line(console, f"{title} {progress.done}/{progress.total}  {words}")

    with progress_bar(console, elapsed=True) as bar:
        task = bar.add_task(title, total=None, state="")
        yield show


def _describe_progress(progress: Progress) -> str:
    words = [f"{progress.rate:.1f}/s"]
    if progress.seconds_left is not None:
        words.append(f"{duration(progress.seconds_left)} left")
    if progress.best_value is not None:
        words.append(f"best {progress.objective} {cell(progress.objective, progress.best_value)}")
    words.append(f"{progress.counts.refused} refused, {progress.counts.repeated} repeated")
    return "  ".join(words)
