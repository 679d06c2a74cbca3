"""The actor that holds the study of a distributed search. Without Ray."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

from search.distributed.leases import Leases, Result
from search.front.front import Front
from search.problem.evaluation import Job
from search.study.search import Search
from search.study.session import Progress, Session, open_search
from space.utils.errors import InputError


@dataclass(frozen=True)
class HostStatus:
    """State of the search, for the driver.

    Args:
        progress: Progress of the search.
        error: Why the search cannot go on; None while it can.
        failed_workers: Why workers gave up, one line each.
        workers: Number of workers at the start.
    """

    progress: Progress
    error: InputError | None
    failed_workers: tuple[str, ...]
    workers: int

    @property
    def goes_on(self) -> bool:
        """Whether evaluations are left, and workers to do them."""
        left = self.progress.ended is None and self.error is None
        return left and len(self.failed_workers) < self.workers


class StudyHost:
    """Holds the study and its storage, in an actor that all workers call.

    When the actor dies, Ray restarts it and it reads the storage; results of evaluations that were
    running then are accepted. The methods of workers are those of `Leases`, until `close`.
    """

    def __init__(self, search: Search, workers: int, sharing: bool = False) -> None:
        self._search = search
        self._ahead = search.sampler.ahead if sharing else 1
        self._count = workers
        self._stack = ExitStack()
        self._opened: tuple[Session, Leases] | None = None
        self._closed = False

    def register_worker(self, worker: str) -> bool:
        return not self._closed and self._leases.register_worker(worker)

    def forget_workers(self) -> None:
        if not self._closed:
            self._leases.forget_workers()

    def note_death(self, worker: str, reason: str) -> None:
        if not self._closed:
            self._leases.note_death(worker, reason)

    def give_up(self, worker: str, reason: str) -> None:
        if not self._closed:
            self._leases.give_up(worker, reason)

    def note_heartbeat(self, worker: str) -> None:
        if not self._closed:
            self._leases.note_heartbeat(worker)

    def remove_worker(self, worker: str, results: Sequence[Result]) -> None:
        if not self._closed:
            self._leases.remove_worker(worker, results)

    def exchange(
        self, worker: str, results: Sequence[Result], held: Sequence[Job]
    ) -> list[Job] | None:
        return None if self._closed else self._leases.exchange(worker, results, held)

    def status(self) -> HostStatus:
        """Return the state of the search; the first call opens it.

        Raises:
            InputError: The search cannot be opened.
        """
        leases = self._leases
        leases.expire()
        reasons = tuple(leases.failed_workers.values())
        progress = replace(self._session.progress(), workers=leases.alive, leased=leases.leased)
        return HostStatus(progress, leases.error, reasons, self._count)

    def over(self) -> bool:
        """Return whether the search has ended or failed."""
        if self._closed:
            return True
        return self._leases.error is not None or self._session.study.ended is not None

    def front(self) -> Front:
        study = self._session.study
        return Front.of(study.problem, study.records, study.ended or "")

    def close(self) -> None:
        """Close the storage and unlock its folder; workers that call get no more jobs."""
        self._closed = True
        self._stack.close()

    @property
    def _session(self) -> Session:
        return self._open()[0]

    @property
    def _leases(self) -> Leases:
        return self._open()[1]

    def _open(self) -> tuple[Session, Leases]:
        if self._opened is None:
            session = self._stack.enter_context(open_search(self._search))
            self._opened = session, Leases(session.study, self._count, ahead=self._ahead)
        return self._opened
