"""Stage two: the search."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from functools import cache, partial
from typing import Any

from rich.console import Console
from rich.progress import Progress

from search.front.front import Front
from search.front.front_file import FRONT
from search.latency.costs import by_cost
from search.latency.fit import TOO_FAR
from search.pipeline.config import SearchConfig
from search.pipeline.context import TRAINED, RunContext
from search.pipeline.measure_front import describe_excess, time_front
from search.pipeline.run_evaluator import RunEvaluator
from search.pipeline.run_folder import RunFolder
from search.problem.paired_error import Lead, describe_leads
from search.problem.problem import Problem
from search.run import run_search
from search.study.options import SearchOptions
from search.study.samplers import parse_sampler
from search.study.session import Progress as State
from search.utils.console import OPTIMISTIC, cell, print_line, show_rows
from search.utils.units import duration
from space.utils.errors import InputError, cut
from supernet.progress import progress_bar


def search(run: RunContext) -> Front:
    """Search the space of a config on its trained supernet; `front.yaml` holds what was found.

    Raises:
        InputError: there is no trained supernet, the search's values are not right, or the front is
            empty.
    """
    wanted, console = run.config.search, run.console
    sampler = parse_sampler({"name": wanted.sampler, **wanted.sampler_args})
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
    with shown_progress(console) as shown:
        settled = _Settled(run.folder)

        def begun(state: State) -> None:
            settled(state)
            shown(state)

        front = search_supernet(
            run,
            RunEvaluator(run.config, run.file, shown.loaded),
            problem,
            {"reuse": [str(run.folder.search.with_name(name)) for name in wanted.reuse]},
            trials=wanted.trials,
            sampler=sampler,
            folder=run.folder.search,
            on_event=begun,
        )
    settled.end()
    check_found(front, wanted)
    limits: dict[str, float] = {}
    if tables:
        limits = {limit.name: limit.most for limit in problem.budget.limits}
        costs = by_cost(tables, problem.tables)
        front = time_front(front, earlier, run.supernet, costs, console)
        front.save(path)
    show_front(front, console, limits)
    return front


class _Settled:
    """Makes a search's values the run's, once something has succeeded by them.

    Those that are refused, or by which nothing works (such as too small a time limit), are not to
    be what later commands take; and what earlier ones have evaluated says nothing of them.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._claim = cache(partial(folder.claim, "supernet", TRAINED, searched=True))
        self._first: State | None = None
        self._evaluated = False

    def __call__(self, state: State) -> None:
        """The search has come so far."""
        first = self._first = self._first or state
        self._evaluated = state.done > first.done
        if state.done - state.failed > first.done - first.failed:
            self._claim()

    def end(self) -> None:
        """The search is over; where nothing was left to evaluate, its values are as good as any."""
        if not self._evaluated:
            self._claim()


def search_supernet(
    run: RunContext,
    evaluate: RunEvaluator,
    problem: Problem,
    options: Mapping[str, Any],
    **values: Any,
) -> Front:
    """`run_search` on the supernet of a run, with what all searches of its config have in common.

    Args:
        run: The run, whose supernet is trained.
        evaluate: What makes the evaluation.
        problem: What is looked for.
        options: Values of the config's search that are others here.
        values: What is this search's own, as `run_search` takes it.
    """
    wanted, workers = run.config.search, run.config.evaluators()
    values_of_config = {each.name: getattr(wanted, each.name) for each in fields(SearchOptions)}
    gpus = None if workers == 0 else workers.gpus
    return run_search(
        make_evaluate=evaluate,
        problem=problem,
        seed=run.config.search_seed,
        origin=run.origin,
        options=SearchOptions(**{**values_of_config, "gpus_per_worker": gpus, **options}),
        **values,
    )


def check_found(front: Front, wanted: SearchConfig) -> None:
    """Refuse to go on with a front that is empty.

    Raises:
        InputError: why it is, and what to try.
    """
    if front.entries:
        return
    advice = (
        "give a budget within reach, by another --search.name (--search.reuse "
        f"'[{wanted.name}]' spares its evaluations)"
    )
    # Otherwise it has ended because there is nothing left to evaluate.
    if front.evaluations >= wanted.trials:
        advice += ", or go on by more --search.trials"
    raise InputError(
        f"search {wanted.name}: the front is empty after {front.evaluations} evaluations, "
        f"{front.failed} failed: {front.ended}; {advice}"
    )


def show_front(front: Front, console: Console, limits: Mapping[str, float] | None = None) -> None:
    """A table of the front, how the search ended, and what its figures are worth.

    Args:
        front: what was found.
        console: where it is shown.
        limits: budgets by the name of the cost; what a measurement finds beyond one is marked.
    """
    rows = [
        _row(row, front, lead, over)
        for row, lead, over in zip(
            front.rows(), front.leads, describe_excess(front, limits or {}), strict=True
        )
    ]
    of = f", {front.images:,} images" if front.images else ""
    show_rows(rows, console, title=f"front, on the search split{of}")
    lines = [f"{front.evaluations} evaluations, {front.failed} failed: {cut(front.ended)}."]
    if any(front.leads):
        lines.append(describe_leads(front.leads))
    for line in (*lines, OPTIMISTIC):
        print_line(console, line)


def _row(row: Mapping[str, Any], front: Front, lead: Lead | None, over: str) -> dict[str, Any]:
    """A row of the front's table: the objectives, and beside them what they are worth."""
    first = ["trial", *(each.name for each in front.objectives)]
    shown = {name: row[name] for name in first}
    if any(front.leads):
        shown["lead"] = "" if lead is None else str(lead)
    shown["of full"] = f"{row['macs'] / front.full['macs']:.0%}"
    if over:
        shown["budget"] = over
    return shown | {name: value for name, value in row.items() if name not in (*first, "top5")}


class Shown:
    """Shows the images that are loaded, and then how far the search is.

    Args:
        console: where it prints lines: where it is no terminal, one for each tenth of the search.
        bar: to turn, where it is one.
        title: what is searched.
    """

    def __init__(self, console: Console, bar: Progress, title: str) -> None:
        self._console = console
        self._bar = bar
        self._title = title
        self._task = bar.add_task(title, total=None, state="")
        self._noted: set[str] = set()
        self._told: int | None = None
        self._began: float | None = None

    def loaded(self, done: int, total: int) -> None:
        """So many images of the search split are there."""
        self._began = self._began or time.monotonic()
        self._bar.update(self._task, total=total, completed=done, state="images loaded")
        if done == total:
            seconds = time.monotonic() - self._began
            print_line(
                self._console, f"{total:,} images of the search split loaded in {duration(seconds)}"
            )
            self._began = None

    def __call__(self, state: State) -> None:
        """The search has come so far."""
        for note in state.notes:
            if note not in self._noted:
                self._noted.add(note)
                print_line(self._console, note)
        words = _words(state)
        self._bar.update(self._task, total=state.total, completed=state.done, state=words)
        tenth = 10 * state.done // state.total
        news = self._told is not None and tenth > self._told
        self._told = tenth
        if news and not self._console.is_terminal:
            print_line(self._console, f"{self._title} {state.done}/{state.total}  {words}")


@contextmanager
def shown_progress(console: Console, title: str = "search") -> Iterator[Shown]:
    """A bar over the evaluations: rate, time left, best so far, what was not evaluated."""
    with progress_bar(console, elapsed=True) as bar:
        yield Shown(console, bar, title)


def _words(state: State) -> str:
    words = [f"{state.rate:.1f}/s"]
    if state.seconds_left is not None:
        words.append(f"{duration(state.seconds_left)} left")
    if state.best_value is not None:
        words.append(f"best {state.objective} {cell(state.objective, state.best_value)}")
    words.append(f"{state.counts.refused} refused, {state.counts.repeated} repeated")
    return "  ".join(words)
