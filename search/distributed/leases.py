"""Leases of jobs to workers; jobs of dead workers are queued again. Does not import Ray."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from search.evaluators.base import count_shared_blocks
from search.problem.evaluation import Job, Outcome, describe_exception
from search.study.study import Study
from space.arch import Arch
from space.utils.errors import InputError

# A lease expires this long after its worker's last call.
LEASE_SECONDS = 60.0
HEARTBEAT_SECONDS = 5.0
ALIVE_SECONDS = 3 * HEARTBEAT_SECONDS
# Duration of a lease's jobs: long compared with a call to the actor, short enough to repeat.
BATCH_SECONDS = 0.2
MAX_BATCH = 64
MAX_DEATHS = 3

Result = tuple[Job, Outcome]


@dataclass
class _Worker:
    """State of one worker.

    Args:
        last_call: Time of its last call; minus infinity once it has died.
        leased: Jobs that it is evaluating, by identity.
        failed_starts: Number of consecutive deaths without an exchange.
        last_arch: Arch of its last job.
    """

    last_call: float
    leased: dict[str, Job] = field(default_factory=dict)
    failed_starts: int = 0
    last_arch: Arch | None = None


class Leases:
    """Leases a study's jobs to workers.

    Args:
        study: Study that proposes jobs and stores outcomes.
        workers: Number of workers; batches shrink at the end so that all have jobs.
        clock: Monotonic clock in seconds.
        ahead: Number of jobs to request from the study at once. Each worker gets the jobs that
            share most first blocks with its last one, whose activations its evaluator can reuse.

    Attributes:
        error: Error that ends the search, if any.
        failed_workers: Reasons why workers gave up, by name of the worker.
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
        self.failed_workers: dict[str, str] = {}
        self._clock = clock
        self._worker_count = workers
        self._ahead = ahead
        self._waiting: list[Job] = []  # taken from the study, never leased
        self._workers: dict[str, _Worker] = {}
        self._requeued: deque[Job] = deque()  # given back by lost workers
        self._deaths: dict[str, int] = {}
        self._mean_seconds: float | None = None

    @property
    def leased(self) -> int:
        """Number of jobs that workers hold."""
        return sum(len(worker.leased) for worker in self._workers.values())

    @property
    def alive(self) -> int:
        """Number of workers that called within the last `ALIVE_SECONDS`."""
        now = self._clock()
        return sum(
            now - worker.last_call < ALIVE_SECONDS and name not in self.failed_workers
            for name, worker in self._workers.items()
        )

    def register_worker(self, name: str) -> bool:
        """Register a worker that has (re)started without jobs; return whether it may evaluate."""
        self._revoke_leases(self._get_worker(name))
        return self.error is None and name not in self.failed_workers

    def record_death(self, name: str, reason: str) -> None:
        """Record that a worker has died and will be restarted."""
        worker = self._get_worker(name)
        worker.last_call = -math.inf
        worker.failed_starts += 1
        if worker.failed_starts >= MAX_DEATHS:
            self.give_up(name, f"it died {MAX_DEATHS} times while it was set up: {reason}")

    def give_up(self, name: str, reason: str) -> None:
        """Record that a worker cannot evaluate; the others continue."""
        self._revoke_leases(self._get_worker(name))
        self.failed_workers.setdefault(name, reason)

    def record_heartbeat(self, name: str) -> None:
        """Record that a worker is alive, also one registered before this actor restarted."""
        self._get_worker(name)

    def forget_workers(self) -> None:
        """Forget all workers: Tune was restarted, and its trials have new names."""
        for worker in self._workers.values():
            self._requeued.extend(worker.leased.values())
        self._workers.clear()
        self.failed_workers.clear()

    def remove_worker(self, name: str, results: Sequence[Result]) -> None:
        """Store a worker's last results; queue its other jobs again without counting a death."""
        worker = self._store_results(name, results)
        self._requeued.extend(worker.leased.values())
        worker.leased.clear()

    def exchange(
        self, name: str, results: Sequence[Result], held: Sequence[Job] | None = None
    ) -> list[Job] | None:
        """Store a worker's results and lease it new jobs.

        Args:
            name: Name of the worker.
            results: The finished jobs and their outcomes.
            held: The other jobs that the worker holds, which may differ from its leases if an
                answer was lost or this actor was restarted. None to trust the leases.

        Returns:
            The jobs, possibly none for now; None once the search is over.
        """
        worker = self._store_results(name, results)
        if self.error is not None:
            return None
        if held is not None:
            self._match_leases(worker, held)
        self.expire()
        jobs = self._choose_jobs(worker)
        worker.leased.update({job.identity: job for job in jobs})
        if not jobs and (self.study.ended is not None or self.error is not None):
            return None
        return jobs

    def expire(self) -> None:
        """Queue again the jobs of workers that were silent for over `LEASE_SECONDS`, as if dead."""
        for worker in self._workers.values():
            if worker.leased and self._clock() - worker.last_call > LEASE_SECONDS:
                self._revoke_leases(worker)

    def _match_leases(self, worker: _Worker, held: Sequence[Job]) -> None:
        """Replace a worker's leases by its jobs; the others are queued without counting a death."""
        by_identity = {job.identity: job for job in held}
        self._requeued.extend(job for name, job in worker.leased.items() if name not in by_identity)
        self._requeued = deque(job for job in self._requeued if job.identity not in by_identity)
        self._waiting = [job for job in self._waiting if job.identity not in by_identity]
        worker.leased = {name: job for name, job in by_identity.items() if self.study.awaits(job)}
        for job in worker.leased.values():
            self.study.adopt(job)

    def _store_results(self, name: str, results: Sequence[Result]) -> _Worker:
        """Store results, and return the state of their worker."""
        worker = self._get_worker(name)
        worker.failed_starts = 0
        for job, outcome in results:
            worker.leased.pop(job.identity, None)
            self._finish(job, outcome)
            # Exponential moving average of the seconds of an evaluation.
            mean = self._mean_seconds or outcome.seconds
            self._mean_seconds = 0.8 * mean + 0.2 * outcome.seconds
        return worker

    def _get_worker(self, name: str) -> _Worker:
        """Return the state of a worker, and record that it calls now."""
        worker = self._workers.setdefault(name, _Worker(self._clock()))
        worker.last_call = self._clock()
        return worker

    def _choose_jobs(self, worker: _Worker) -> list[Job]:
        """Choose jobs to lease to a worker."""
        # A job that has lost a worker is evaluated alone, so that another death is its fault.
        if any(identity in self._deaths for identity in worker.leased):
            return []
        while self._requeued and not worker.leased:
            # One at a time, as any of them may kill its worker.
            job = self._requeued.popleft()
            if self.study.awaits(job):
                return [job]
        jobs: list[Job] = []
        while len(jobs) < self._batch_size() and (similar := self._pop_similar_job(worker)):
            jobs.append(similar)
        return jobs

    def _pop_similar_job(self, worker: _Worker) -> Job | None:
        """Remove the waiting job that shares most first blocks with the worker's last one."""
        self._waiting = [job for job in self._waiting if self.study.awaits(job)]
        if self.study.ended is not None:
            # After a restart, results of workers may complete the study while jobs wait.
            self._waiting = []
        elif not self._waiting:
            with self._calling_study():
                self._waiting = self.study.take_group(self._ahead)
        if not self._waiting:
            return None
        job = max(self._waiting, key=lambda job: count_shared_blocks(job.arch, worker.last_arch))
        self._waiting.remove(job)
        worker.last_arch = job.arch
        return job

    def _batch_size(self) -> int:
        """Return the number of jobs of a lease: those of `BATCH_SECONDS`, at most a fair share."""
        if not self._mean_seconds:
            return 1
        remaining = self.study.trials - len(self.study.records) - self.leased
        fair_share = max(1, remaining // (2 * self._worker_count))
        return max(1, min(round(BATCH_SECONDS / self._mean_seconds), MAX_BATCH, fair_share))

    def _finish(self, job: Job, outcome: Outcome) -> None:
        """Store an outcome, unless the search has an error: storing may wait for an away server."""
        if self.error is None:
            with self._calling_study():
                self.study.finish(job, outcome)

    @contextmanager
    def _calling_study(self) -> Iterator[None]:
        """Record an error in a call to the study, whose time does not count as workers' silence."""
        start = self._clock()
        try:
            yield
        except InputError as error:
            self.error = error
        except Exception as error:
            # Raised by a sampler or a user's objective: another worker would not help.
            self.error = InputError(f"the search cannot go on: {describe_exception(error)}")
        waited = self._clock() - start
        for worker in self._workers.values():
            worker.last_call += waited

    def _revoke_leases(self, worker: _Worker) -> None:
        """Queue a worker's jobs again; a job that has lost too many workers fails."""
        for job in worker.leased.values():
            deaths = self._deaths[job.identity] = self._deaths.get(job.identity, 0) + 1
            if deaths < MAX_DEATHS:
                self._requeued.append(job)
            else:
                message = f"its worker died or fell silent {MAX_DEATHS} times"
                self._finish(job, Outcome({}, message))
        worker.leased.clear()
