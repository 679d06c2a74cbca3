"""Stage two: the search."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from functools import cache, partial
from typing import Any

import numpy as np
from rich.console import Console

from search.front.front import Front
from search.front.front_file import FRONT
from search.latency.costs import by_cost
from search.latency.fit import TOO_FAR
from search.pipeline.choose import Purpose, best_within, split_budget, to_folder_name
from search.pipeline.config import SearchConfig
from search.pipeline.context import TRAINED, RunContext
from search.pipeline.latencies import time_front
from search.pipeline.run_evaluator import RunEvaluator
from search.problem.feasible import FeasibleArchs
from search.problem.paired_error import describe_leads
from search.problem.problem import Problem
from search.run import run_search
from search.study.options import SearchOptions
from search.study.session import OnProgress
from search.study.session import Progress as State
from search.utils.console import OPTIMISTIC, cell, print_line, show_rows
from search.utils.units import duration
from space.arch import Arch
from space.space import SearchSpace
from space.utils.errors import InputError, cut
from supernet.progress import progress_bar


def search(run: RunContext) -> Front:
    """Search the space of a config on its trained supernet; `front.yaml` holds what was found.

    Raises:
        InputError: there is no trained supernet, the search's values are not right, or the front is
            empty.
    """
    wanted, console = run.config.search, run.console
    tables = run.load_trained().tables
    for table in tables:
        print_line(console, f"latency_ms@{table.name}: {table.conditions}; {table.error}")
        if table.error is not None and table.error.large:
            print_line(console, TOO_FAR)
    problem = run.problem
    run.check_images()
    path = run.folder.search / FRONT
    # Only what the same tables predicted can have been measured under the same conditions.
    earlier = Front.load(path) if tables and path.exists() else None
    claim = cache(partial(run.folder.claim, "supernet", TRAINED, searched=True))
    first: State | None = None

    def on_event(state: State) -> None:
        nonlocal first
        first = first or state
        # Later commands take a search's values once something has succeeded by them: not those by
        # which nothing works, such as too small a time limit.
        if state.done - state.failed > first.done - first.failed:
            claim()
        show(state)

    with shown_progress(console) as show:
        front = search_supernet(
            run,
            problem,
            {"reuse": [str(run.folder.search.with_name(name)) for name in wanted.reuse]},
            trials=wanted.trials,
            sampler={"name": wanted.sampler, **wanted.sampler_args},
            folder=run.folder.search,
            on_event=on_event,
        )
    if first is None or front.evaluations == first.done:
        # Nothing was left to evaluate: the values are as good as any.
        claim()
    check_found(front, wanted)
    if tables:
        front = time_front(front, earlier, run.supernet, by_cost(tables, problem.tables), console)
        front.save(path)
    show_front(front, console, {limit.name: limit.most for limit in problem.budget.limits})
    return front


def search_supernet(
    run: RunContext, problem: Problem, options: Mapping[str, Any], **values: Any
) -> Front:
    """`run_search` on the supernet of a run, with what all searches of its config have in common.

    Args:
        run: The run, whose supernet is trained.
        problem: What is looked for.
        options: Values of the config's search that are others here.
        values: What is this search's own, as `run_search` takes it.
    """
    wanted, workers = run.config.search, run.config.evaluators()
    values_of_config = {each.name: getattr(wanted, each.name) for each in fields(SearchOptions)}
    gpus = None if workers == 0 else workers.gpus
    return run_search(
        make_evaluate=RunEvaluator(run),
        problem=problem,
        seed=run.config.search_seed,
        origin=run.origin,
        options=SearchOptions(**{**values_of_config, "gpus_per_worker": gpus, **options}),
        **values,
    )


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


def check_found(front: Front, wanted: SearchConfig) -> None:
    """Refuse to go on with a front that is empty.

    Raises:
        InputError: why it is, and what to try.
    """
    if front.entries:
        return
    raise InputError(
        f"search {wanted.name}: the front is empty after {front.evaluations} evaluations, "
        f"{front.failed} failed: {front.ended}; give a budget within reach, by another "
        f"--search.name (--search.reuse '[{wanted.name}]' spares its evaluations), or more "
        "--search.trials"
    )


def show_front(front: Front, console: Console, limits: Mapping[str, float] | None = None) -> None:
    """A table of the front, how the search ended, and what its figures are worth.

    Args:
        front: what was found.
        console: where it is shown.
        limits: budgets by the name of the cost; what a measurement finds beyond one is marked.
    """
    leads, first = front.leads, ["trial", *(each.name for each in front.objectives)]
    rows = []
    for entry, row, lead in zip(front.entries, front.rows(), leads, strict=True):
        shown = {name: row[name] for name in first}
        if any(leads):
            shown["lead"] = "" if lead is None else str(lead)
        shown["of full"] = f"{row['macs'] / front.full['macs']:.0%}"
        over = [
            f"{name} is over by {entry.measured[name] / most - 1:.1%}"
            for name, most in (limits or {}).items()
            if entry.measured.get(name, 0.0) > most
        ]
        if over:
            shown["budget"] = ", ".join(over)
        rest = {name: value for name, value in row.items() if name not in first}
        rows.append(shown | rest)
    of = f", {front.images:,} images" if front.images else ""
    show_rows(rows, console, title=f"front, on the search split{of}")
    counts = f"{front.evaluations} evaluations, {front.failed} failed"
    print_line(console, f"{counts}: {cut(front.ended)}.")
    if any(leads):
        print_line(console, describe_leads(leads))
    print_line(console, OPTIMISTIC)


@contextmanager
def shown_progress(console: Console, title: str = "search") -> Iterator[OnProgress]:
    """Show how far a search is, by a function that takes its progress.

    A bar over the evaluations has rate, time left, best so far, and what was not evaluated; outside
    terminals each tenth of the search is a line.

    Args:
        console: Console for bar and lines.
        title: What is searched.
    """
    noted: set[str] = set()
    tenth: int | None = None

    def show(state: State) -> None:
        nonlocal tenth
        for note in state.notes:
            if note not in noted:
                noted.add(note)
                print_line(console, note)
        words = _words(state)
        bar.update(task, total=state.total, completed=state.done, state=words)
        before, tenth = tenth, 10 * state.done // state.total
        if before is not None and tenth > before and not console.is_terminal:
            print_line(console, f"{title} {state.done}/{state.total}  {words}")

    with progress_bar(console, elapsed=True) as bar:
        task = bar.add_task(title, total=None, state="")
        yield show


def _words(state: State) -> str:
    words = [f"{state.rate:.1f}/s"]
    if state.seconds_left is not None:
        words.append(f"{duration(state.seconds_left)} left")
    if state.best_value is not None:
        words.append(f"best {state.objective} {cell(state.objective, state.best_value)}")
    words.append(f"{state.counts.refused} refused, {state.counts.repeated} repeated")
    return "  ".join(words)
