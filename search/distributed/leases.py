"""Leases of jobs to workers: jobs return to the queue when their worker dies. Without Ray."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from search.evaluators.base import alike
from search.problem.evaluation import Job, Outcome, describe
from search.study.study import Study
from space.arch import Arch
from space.utils.errors import InputError

# A lease ends this long after the last call of its worker.
LEASE_SECONDS = 60.0
BEAT_SECONDS = 5.0
SILENT_SECONDS = 3 * BEAT_SECONDS
# Work of one lease: long beside a call to the actor, short enough to lose with a worker.
BATCH_SECONDS = 0.2
MOST_BATCH = 64
MOST_DEATHS = 3

Result = tuple[Job, Outcome]


@dataclass
class _Worker:
    """State of one worker.

    Args:
        seen: Time of its last call.
        leased: Jobs that it is evaluating, by identity.
        starts: Number of starts in a row without an exchange.
        greeted: Whether it called since it last died.
        last: Arch of the job that it leased last.
    """

    seen: float
    leased: dict[str, Job] = field(default_factory=dict)
    starts: int = 0
    greeted: bool = False
    last: Arch | None = None


class Leases:
    """Leases a study's jobs to workers.

    Args:
        study: The study that gives jobs and takes outcomes.
        workers: Number of workers, among which the last jobs are spread evenly.
        clock: Monotonic clock in seconds.
        ahead: Jobs to ask the study for at a time; each worker gets those whose first blocks are
            most like those of its last job, which its evaluator can reuse.

    Attributes:
        error: Why the search cannot go on; None while it can.
        broken: Why workers gave up, one line each, by name.
    """

    def __init__(
        self,
        study: Study,
        workers: int,
        clock: Callable[[], float] = time.monotonic,
        ahead: int = 1,
    ) -> None:
        self.study = study
        self.error: InputError | None = None
        self.broken: dict[str, str] = {}
        self._clock = clock
        self._count = workers
        self._ahead = ahead
        self._waiting: list[Job] = []
        self._workers: dict[str, _Worker] = {}
        self._lost: deque[Job] = deque()
        self._deaths: dict[str, int] = {}
        self._seconds: float | None = None

    @property
    def leased(self) -> int:
        """Number of jobs that workers hold now."""
        return sum(len(worker.leased) for worker in self._workers.values())

    @property
    def alive(self) -> int:
        """Number of workers that called within the last `SILENT_SECONDS`."""
        now = self._clock()
        return sum(
            worker.greeted and name not in self.broken and now - worker.seen < SILENT_SECONDS
            for name, worker in self._workers.items()
        )

    def hello(self, name: str) -> bool:
        """Register a worker that has (re)started without jobs; return whether it may go on."""
        worker = self._worker(name)
        self._take_back(worker)
        worker.greeted = True
        self._count_start(name, worker, "")
        return self.error is None and name not in self.broken

    def died(self, name: str, reason: str) -> None:
        """Note that a worker has died and will be restarted."""
        worker = self._worker(name)
        if not worker.greeted:
            self._count_start(name, worker, reason)
        worker.greeted = False

    def give_up(self, name: str, reason: str) -> None:
        """Note that a worker cannot evaluate; the others go on."""
        self._take_back(self._worker(name))
        self.broken.setdefault(name, reason)

    def beat(self, name: str) -> None:
        """Note a heartbeat; the worker may have said hello before this actor was restarted."""
        self._worker(name).greeted = True

    def begin(self) -> None:
        """Forget all workers: Tune was restarted, and its trials have new names."""
        for worker in self._workers.values():
            self._lost.extend(worker.leased.values())
        self._workers.clear()
        self.broken.clear()

    def leave(self, name: str, results: Sequence[Result]) -> None:
        """Take the last results of a worker that ends itself; its other jobs count no death."""
        worker = self._take(name, results)
        self._lost.extend(worker.leased.values())
        worker.leased.clear()

    def exchange(
        self, name: str, results: Sequence[Result], held: Sequence[Job] | None = None
    ) -> list[Job] | None:
        """Take a worker's results and lease it new jobs.

        Args:
            name: Name of the worker.
            results: The finished jobs and their outcomes.
            held: The other jobs that the worker holds, which may differ from its leases where an
                answer was lost or this actor was restarted. None to trust the leases.

        Returns:
            The jobs, which may be none for now; None once the search is over.
        """
        worker = self._take(name, results)
        if self.error is not None:
            return None
        if held is not None:
            self._settle(worker, held)
        self.expire()
        jobs = self._next(worker)
        worker.leased.update({job.identity: job for job in jobs})
        if not jobs and (self.study.ended is not None or self.error is not None):
            return None
        return jobs

    def expire(self) -> None:
        """Take back the jobs of workers that have been silent for too long."""
        for worker in self._workers.values():
            if worker.leased and self._clock() - worker.seen > LEASE_SECONDS:
                self._take_back(worker)

    def _settle(self, worker: _Worker, held: Sequence[Job]) -> None:
        """Replace a worker's leases by the jobs that it holds; the others count no death."""
        has = {job.identity: job for job in held}
        self._lost.extend(job for name, job in worker.leased.items() if name not in has)
        self._lost = deque(job for job in self._lost if job.identity not in has)
        self._waiting = [job for job in self._waiting if job.identity not in has]
        worker.leased = {name: job for name, job in has.items() if self.study.awaits(job)}
        for job in worker.leased.values():
            self.study.adopt(job)

    def _count_start(self, name: str, worker: _Worker, reason: str) -> None:
        worker.starts += 1
        if worker.starts > MOST_DEATHS:
            self.give_up(name, f"it died {MOST_DEATHS} times while it was set up {reason}".rstrip())

    def _take(self, name: str, results: Sequence[Result]) -> _Worker:
        worker = self._worker(name)
        worker.starts = 0
        worker.greeted = True
        for job, outcome in results:
            worker.leased.pop(job.identity, None)
            self._finish(job, outcome)
            # Exponential moving average of the seconds of an evaluation.
            mean = self._seconds or outcome.seconds
            self._seconds = 0.8 * mean + 0.2 * outcome.seconds
        return worker

    def _worker(self, name: str) -> _Worker:
        worker = self._workers.setdefault(name, _Worker(self._clock()))
        worker.seen = self._clock()
        return worker

    def _next(self, worker: _Worker) -> list[Job]:
        if any(identity in self._deaths for identity in worker.leased):
            return []
        while self._lost and not worker.leased:
            # One by one, to find the job that kills workers.
            job = self._lost.popleft()
            if self.study.awaits(job):
                return [job]
        jobs: list[Job] = []
        while len(jobs) < self._batch() and (job_or_none := self._ask(worker)) is not None:
            jobs.append(job_or_none)
        return jobs

    def _ask(self, worker: _Worker) -> Job | None:
        """Take the waiting job whose first blocks are most like the worker's last, if any."""
        self._waiting = [job for job in self._waiting if self.study.awaits(job)]
        if self.study.ended is not None:
            # After a restart, workers bring results that the restarted study did not wait for.
            self._waiting = []
        elif not self._waiting:
            with self._study_asked():
                self._waiting = self.study.group(self._ahead)
        if not self._waiting:
            return None
        job = max(self._waiting, key=lambda job: alike(job.arch, worker.last))
        self._waiting.remove(job)
        worker.last = job.arch
        return job

    def _batch(self) -> int:
        """Return the number of jobs of a lease: `BATCH_SECONDS` of work, but a fair share."""
        if not self._seconds:
            return 1
        left = self.study.trials - len(self.study.records) - self.leased
        fair = max(1, left // (2 * self._count))
        return max(1, min(round(BATCH_SECONDS / self._seconds), MOST_BATCH, fair))

    def _finish(self, job: Job, outcome: Outcome) -> None:
        # After one failure to store, each further one would wait as long for the storage.
        if self.error is None:
            with self._study_asked():
                self.study.finish(job, outcome)

    @contextmanager
    def _study_asked(self) -> Iterator[None]:
        """End the search on an error; do not count the time of the block as workers' silence."""
        began = self._clock()
        try:
            yield
        except InputError as error:
            self.error = error
        except Exception as error:
            # Raised by a sampler or a user's objective: another worker would not help.
            self.error = InputError(f"the search cannot go on: {describe(error)}")
        waited = self._clock() - began
        for worker in self._workers.values():
            worker.seen += waited

    def _take_back(self, worker: _Worker) -> None:
        for job in worker.leased.values():
            deaths = self._deaths[job.identity] = self._deaths.get(job.identity, 0) + 1
            if deaths < MOST_DEATHS:
                self._lost.append(job)
            else:
                message = f"its worker died or fell silent {MOST_DEATHS} times"
                self._finish(job, Outcome({}, message))
        worker.leased.clear()
