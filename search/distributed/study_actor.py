"""The holder of a distributed search's study: a plain class, which `tune.py` runs as an actor."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from search.distributed.leases import Leases
from search.front.front import Front
from search.study.search import Search
from search.study.session import Progress, Session, open_search
from space.utils.errors import InputError


@dataclass(frozen=True)
class HostStatus:
    """Status of the search, for the driver.

    Args:
        progress: Progress of the search.
        error: Error that ends the search, if any.
        failed_workers: Reasons why workers gave up, one line each.
        goes_on: Whether evaluations remain, and workers to run them.
    """

    progress: Progress
    error: InputError | None
    failed_workers: tuple[str, ...]
    goes_on: bool


class StudyHost:
    """Actor that holds the study and its storage, and that all workers call.

    After a crash Ray restarts it: the new one reads the storage, and accepts the results of jobs
    that the old one had leased.

    Args:
        search: The search.
        workers: Number of workers.
        sharing: Whether evaluations reuse the activations of equal first blocks; if so, several
            independent proposals are requested at once, for `Leases` to group.
    """

    def __init__(self, search: Search, workers: int, sharing: bool = False) -> None:
        self._search = search
        self._ahead = search.sampler.ahead if sharing else 1
        self._worker_count = workers
        self._stack = ExitStack()
        self._closed = False

    def call(self, method: str, *arguments: Any) -> Any:
        """Call a method of `Leases`; return None after `close`, which ends a worker."""
        if self._closed:
            return None
        _, leases = self._opened
        return getattr(leases, method)(*arguments)

    def status(self) -> HostStatus:
        """Return the status of the search; the first call opens it.

        Raises:
            InputError: The search cannot be opened.
        """
        session, leases = self._opened
        leases.expire()
        reasons = tuple(leases.failed_workers.values())
        progress = replace(session.progress(), workers=leases.alive, leased=leases.leased)
        goes_on = not self.is_over() and len(reasons) < self._worker_count
        return HostStatus(progress, leases.error, reasons, goes_on)

    def is_over(self) -> bool:
        """Return whether the search has ended or failed."""
        if self._closed:
            return True
        session, leases = self._opened
        return leases.error is not None or session.study.ended is not None

    def front(self) -> Front:
        """Return the front of the finished evaluations."""
        study = self._opened[0].study
        return Front.of(study.problem, study.records, study.ended or "")

    def close(self) -> None:
        """Close the storage and unlock its folder; workers get no more jobs."""
        self._closed = True
        self._stack.close()

    @cached_property
    def _opened(self) -> tuple[Session, Leases]:
        """The open search; the first access opens it."""
        session = self._stack.enter_context(open_search(self._search))
        return session, Leases(session.study, self._worker_count, ahead=self._ahead)
