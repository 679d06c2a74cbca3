"""A search from opening to end, whether this process or a Ray actor runs it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from search.problem.evaluation import Record
from search.problem.feasible import FeasibleArchs
from search.problem.paired_error import Measured
from search.problem.problem import Problem
from search.study.options import SearchOptions
from search.study.samplers import SamplerChoice
from search.study.search_file import SearchFile
from search.study.storage import Store, read_trials
from search.study.study import Counts, Study
from search.study.trial_format import read_metrics
from space.arch import Arch
from space.utils.errors import InputError, shown
from space.utils.values import check_seed, is_integer


@dataclass(frozen=True)
class Progress:
    """The progress of a search.

    Args:
        done: Number of finished evaluations, failed ones and those of earlier runs included.
        total: Number of evaluations at which the search ends.
        failed: Number of failed evaluations.
        counts: Proposals that were not evaluated, since this run began.
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


@dataclass(frozen=True)
class Search:
    """The settings of a search, apart from the evaluation.

    Args:
        problem: Search space, objectives and budget.
        sampler: Sampler and its arguments.
        trials: Number of finished evaluations at which the search ends.
        seed: Seed of every random choice.
        folder: Folder of the results; None to keep them in memory.
        initial: Archs to start from instead of the default ones.
        origin: Plain values that identify how archs are evaluated, such as a hash of the weights;
            stored with the results.
        options: How the search runs.
        driver: PID of the process that runs the search, wherever the study is.

    Raises:
        InputError: A number, an arch or the storage is invalid.
    """

    problem: Problem
    sampler: SamplerChoice = field(default_factory=SamplerChoice)
    trials: int = 200
    seed: int = 0
    folder: Path | None = None
    initial: tuple[Arch, ...] | None = None
    origin: Mapping[str, Any] = field(default_factory=dict)
    options: SearchOptions = field(default_factory=SearchOptions)
    driver: int = field(default_factory=os.getpid)

    def __post_init__(self) -> None:
        if not is_integer(self.trials) or self.trials < 1:
            raise InputError(f"trials must be an integer of at least 1, got {shown(self.trials)}")
        check_seed(self.seed)
        for number, arch in enumerate(self.initial or ()):
            if not isinstance(arch, Arch):
                raise InputError(f"initial[{number}]: must be an Arch, got {shown(arch)}")
        if self.options.storage is not None and self.folder is None:
            raise InputError(
                "storage: a database also needs a folder, for the lock and the search's settings"
            )

    @contextmanager
    def open(self) -> Iterator[Session]:
        """Lock the folder, repair and read its results, and release it at the end.

        Raises:
            InputError: See `Store` and `Study`.
        """
        known = self._read_reused()
        # Before anything is written, so that the budget can still be changed in the same folder.
        rng = np.random.default_rng([self.seed, 1])
        FeasibleArchs(self.problem.space, self.problem.budget).check(rng)
        store = None
        if self.folder is not None:
            store = Store(
                self.folder,
                self._search_file,
                self.problem.objectives,
                url=self.options.storage,
                driver=self.driver,
            )
        try:
            study = Study(
                self.problem,
                self.sampler,
                self.trials,
                seed=self.seed,
                store=store,
                initial=self.initial,
                known=known,
                retry_failed=self.options.retry_failed,
            )
            yield Session(study, tuple(store.notes) if store else ())
        finally:
            if store:
                store.close()

    @property
    def _search_file(self) -> SearchFile:
        return SearchFile.of(self.problem, self.sampler, self.seed, self.origin)

    def _read_reused(self) -> dict[str, Measured]:
        """Read the metrics of the searches to reuse, by identity."""
        found: dict[str, Measured] = {}
        mine = self._search_file
        for folder in map(Path, self.options.reuse):
            other = SearchFile.load(folder)
            if (other.space.shape, other.origin) != (mine.space.shape, mine.origin):
                unnamed = "code" in self.origin or "run" in self.origin
                raise InputError(
                    f"{folder}: cannot be reused, its evaluations are of another backbone or origin"
                    + ("; give both the same origin='NAME', if they mean the same" * unnamed)
                )
            # Its latencies were predicted from its own tables; ours may differ.
            for identity, metrics in read_metrics(read_trials(folder)).items():
                kept = {k: v for k, v in metrics.items() if k not in other.latency}
                found[identity] = Measured(kept, metrics.groups)
        return found


class Session:
    """An open study and its progress."""

    def __init__(self, study: Study, notes: tuple[str, ...] = ()) -> None:
        self.study = study
        self._notes = list(notes)
        self._notes_left = MAX_FAILURE_NOTES
        self._began = time.monotonic()
        self._first_count = self._read_count = len(study.records)
        self._ranked_by = study.problem.ranked_by
        self._best = self._find_best(None, study.records)
        self._failed = sum(record.error is not None for record in study.records)

    def progress(self) -> Progress:
        """Return the progress since the search was opened."""
        records = self.study.records
        new = records[self._read_count :]
        self._read_count = len(records)
        self._note_failures(new)
        self._best = self._find_best(self._best, new)
        elapsed = time.monotonic() - self._began
        return Progress(
            done=len(records),
            total=self.study.trials,
            failed=self._failed,
            counts=self.study.counts,
            rate=(len(records) - self._first_count) / elapsed if elapsed > 0 else 0.0,
            objective=self._ranked_by.name if self._ranked_by else "",
            best=self._best,
            notes=tuple(self._notes),
            ended=self.study.ended,
            best_value=None if self._best is None else self._value(self._best),
        )

    def _note_failures(self, records: Iterable[Record]) -> None:
        failed = [record for record in records if record.error is not None]
        self._failed += len(failed)
        for record in failed[: self._notes_left]:
            self._notes_left -= 1
            self._notes.append(f"arch {record.identity} failed: {record.error}")

    def _find_best(self, best: Record | None, records: Iterable[Record]) -> Record | None:
        """Return the best record in the first measured objective; None without one."""
        ranked_by = self._ranked_by
        if ranked_by is None:
            return None
        candidates = [best] if best else []
        candidates += [record for record in records if record.inside]
        return min(candidates, key=lambda each: ranked_by.sign * self._value(each), default=None)

    def _value(self, record: Record) -> float:
        """Return a record's value of the ranking objective."""
        assert record.values is not None
        assert self._ranked_by is not None
        return record.values[self.study.problem.objectives.index(self._ranked_by)]
