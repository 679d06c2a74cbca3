"""What a process that evaluates does between leases. No Ray in here."""

from __future__ import annotations

import time
from collections.abc import Callable

from search.distributed.leases import Result
from search.evaluators.base import attempt, in_order
from search.evaluators.time_limit import too_long
from search.problem.evaluation import Job, Outcome
from search.problem.objectives import Evaluate

# While there is nothing to do; others may die and leave some.
IDLE_SECONDS = 0.2
# Slower batches are not fetched ahead: at the end of a search others would wait for them.
AHEAD_SECONDS = 2.0

Exchange = Callable[[list[Result], list[Job]], Callable[[], list[Job] | None]]


class Watch:
    """Knows what a worker is evaluating, and whether it takes too long. For another thread to look.

    Args:
        limit: seconds after which an evaluation has failed; None for no limit.
        clock: seconds that never go backwards.
    """

    def __init__(self, limit: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._clock = clock
        self._now: tuple[Job, float] | None = None
        self._done: list[Result] = []

    def step(self, most: float) -> float:
        """Seconds between two looks."""
        return most if self._limit is None else min(most, self._limit / 4)

    def batch(self, jobs: list[Job], evaluate: Evaluate) -> list[Result]:
        """Evaluate jobs one after the other."""
        self._done = []
        for job in in_order(evaluate, jobs):
            self._now = job, self._clock()
            outcome = attempt(evaluate, job.arch, self._limit)
            self._now = None
            self._done.append((job, outcome))
        return self._done

    def overdue(self) -> list[Result]:
        """The batch as far as it came, where what is evaluated now takes too long: it failed."""
        now = self._now
        if now is None or self._limit is None or self._clock() - now[1] <= self._limit:
            return []
        return [*self._done, (now[0], Outcome({}, too_long(self._limit), self._limit))]


def work(exchange: Exchange, evaluate: Evaluate, watch: Watch | None = None) -> None:
    """Evaluate until there is nothing left; while a quick batch runs, the next one is fetched.

    Args:
        exchange: given results, and the jobs that are held beside them, starts bringing the one and
            asking for more of the other; what it gives waits for the jobs, and gives None where
            there will be none any more.
        evaluate: gives the metrics of an arch.
        watch: is told what is evaluated when.
    """
    watch = watch or Watch(None)
    results: list[Result] = []
    jobs = exchange(results, [])()
    ahead = False
    while jobs is not None:
        if not jobs and not results:
            time.sleep(IDLE_SECONDS)
        following = exchange(results, jobs) if ahead else None
        started = time.monotonic()
        done = watch.batch(jobs, evaluate)
        ahead = bool(jobs) and time.monotonic() - started < AHEAD_SECONDS
        if following is None:
            following, results = exchange(done, []), []
        else:
            results = done
        jobs = following()
        if jobs is not None and results and not ahead:
            # Brought before the next ones are begun, which may take long, or never end.
            more, results = exchange(results, jobs)(), []
            jobs = None if more is None else jobs + more
