"""What a process that evaluates does between leases. No Ray in here."""

from __future__ import annotations

import time
from collections.abc import Callable

from search.leases import Result
from search.objectives import Evaluate
from search.record import Job, attempt

# While there is nothing to do; others may die and leave some.
IDLE_SECONDS = 0.2
# Slower batches are not fetched ahead: at the end of a search others would wait for them.
AHEAD_SECONDS = 2.0

Exchange = Callable[[list[Result]], Callable[[], list[Job] | None]]


def work(exchange: Exchange, evaluate: Evaluate) -> None:
    """Evaluate until there is nothing left; while a quick batch runs, the next one is fetched.

    Args:
        exchange: starts bringing results and asking for jobs; what it gives waits for the jobs, and
            gives None where there will be none any more.
        evaluate: gives the metrics of an arch.
    """
    results: list[Result] = []
    jobs = exchange(results)()
    ahead = False
    while jobs is not None:
        if not jobs and not results:
            time.sleep(IDLE_SECONDS)
        following = exchange(results) if ahead else None
        started = time.monotonic()
        done = [(job, attempt(evaluate, job.arch)) for job in jobs]
        if following is None:
            following, results = exchange(results + done), []
        else:
            results = done
        ahead = bool(jobs) and time.monotonic() - started < AHEAD_SECONDS
        jobs = following()
