"""An open search and its progress, whether this process or a Ray actor holds it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from search.problem.evaluation import Record
from search.problem.feasible import FeasibleArchs
from search.problem.paired_error import GroupedMetrics
from search.study.search import Search
from search.study.search_file import SearchFile
from search.study.storage import Store, read_trials
from search.study.study import Counts, Study
from search.study.trial_format import read_metrics
from space.utils.errors import InputError


@dataclass(frozen=True)
class Progress:
    """The progress of a search.

    Args:
        done: Number of finished evaluations, failed ones and those of earlier runs included.
        total: Number of evaluations at which the search ends.
        failed: Number of failed evaluations.
        counts: Counts of proposals that were not evaluated, since this run began.
        rate: Evaluations a second, since this run began.
        objective: Name of the first measured objective; empty without one.
        best: Best evaluation in that objective, inside the constraints.
        notes: Messages: repairs made when the storage was opened, and the first failures.
        ended: Reason why the search ended; None while it runs.
        workers: Number of live workers; None where this process evaluates.
        leased: Number of archs that the workers are evaluating.
        best_value: Value of the objective for `best`; None before there is one.
    """

    done: int
    total: int
    failed: int
    counts: Counts
    rate: float
    objective: str
    best: Record | None
    notes: tuple[str, ...] = ()
    ended: str | None = None
    workers: int | None = None
    leased: int = 0
    best_value: float | None = None

    @property
    def seconds_left(self) -> float | None:
        """Estimated seconds to the end at the rate so far; None where it is unknown."""
        return (self.total - self.done) / self.rate if self.rate else None


OnProgress = Callable[[Progress], None]
# Failures reported one by one; the rest are only counted.
MAX_FAILURE_NOTES = 3


@contextmanager
def open_search(search: Search) -> Iterator[Session]:
    """Lock the folder of a search, repair and read its results, and release it at the end.

    Raises:
        InputError: See `Store` and `Study`.
    """
    reusable = _read_reused(search)
    # Before anything is written, so that the budget can still be changed in the same folder.
    feasible = FeasibleArchs(search.problem.space, search.problem.budget)
    feasible.check(np.random.default_rng([search.seed, 1]))
    store = None if search.folder is None else Store(search.folder, search)
    try:
        study = Study(search, store, reusable)
        yield Session(study, store.notes if store else ())
    finally:
        if store:
            store.close()


def _read_reused(search: Search) -> dict[str, GroupedMetrics]:
    """Read the metrics of the searches to reuse, by identity."""
    reused: dict[str, GroupedMetrics] = {}
    this = SearchFile.of(search)
    for folder in map(Path, search.options.reuse):
        other = SearchFile.load(folder)
        origins = [each.origin for each in (other, this)]
        if "maps" not in other.origin:  # earlier versions did not store it
            origins = [{k: v for k, v in each.items() if k != "maps"} for each in origins]
        if other.space.shape != this.space.shape or origins[0] != origins[1]:
            unnamed = "code" in this.origin or "run" in this.origin
            raise InputError(
                f"{folder}: cannot be reused: its evaluations are of another backbone or origin"
                + ("; give both the same origin='NAME', if they mean the same" * unnamed)
            )
        # Its latencies were predicted from its own tables; ours may differ.
        for identity, metrics in read_metrics(read_trials(folder)).items():
            comparable = {k: v for k, v in metrics.items() if k not in other.latency}
            reused[identity] = GroupedMetrics(comparable, metrics.groups)
    return reused


class Session:
    """An open study and its progress.

    Args:
        study: The study.
        notes: Messages from opening it.
    """

    def __init__(self, study: Study, notes: Iterable[str] = ()) -> None:
        self.study = study
        self._notes = list(notes)
        self._started = time.monotonic()
        self._first_count = len(study.records)
        self._read_count = self._failed = self._noted = 0
        self._ranked_by = study.problem.ranked_by
        self._best: Record | None = None
        self._best_value: float | None = None

    def progress(self) -> Progress:
        """Return the progress since the search was opened."""
        done = len(self.study.records)
        for record in self.study.records[self._read_count :]:
            self._count_record(record)
        self._read_count = done
        elapsed = time.monotonic() - self._started
        return Progress(
            done=done,
            total=self.study.trials,
            failed=self._failed,
            counts=self.study.counts,
            rate=(done - self._first_count) / elapsed if elapsed > 0 else 0.0,
            objective=self._ranked_by.name if self._ranked_by else "",
            best=self._best,
            notes=tuple(self._notes),
            ended=self.study.ended,
            best_value=self._best_value,
        )

    def _count_record(self, record: Record) -> None:
        """Count a failure and note the first ones of this run, or compare with the best record."""
        if record.error is not None:
            self._failed += 1
            if record.number >= self._first_count and self._noted < MAX_FAILURE_NOTES:
                self._noted += 1
                self._notes.append(f"arch {record.identity} failed: {record.error}")
        elif self._ranked_by is not None and record.meets_constraints and record.values is not None:
            value = record.values[self.study.problem.objectives.index(self._ranked_by)]
            sign = self._ranked_by.sign
            if self._best_value is None or sign * value < sign * self._best_value:
                self._best, self._best_value = record, value
