"""A worker: a Ray Tune trial that exchanges results for jobs until the search is over."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from search.distributed.leases import HEARTBEAT_SECONDS, Result
from search.distributed.ray_api import ray
from search.evaluators.base import evaluate_safely, order_jobs
from search.evaluators.time_limit import describe_timeout
from search.problem.evaluation import Job, Outcome, describe_exception
from search.problem.objectives import Evaluate

# Pause between requests while no job is available; jobs of dead workers become available again.
IDLE_SECONDS = 0.2
# After a slower batch the next one is not prefetched, since idle workers could run it.
PREFETCH_SECONDS = 2.0

Exchange = Callable[[list[Result], list[Job]], Callable[[], list[Job] | None]]


def evaluate_leases(
    config: Mapping[str, Any],
    study: Any,
    make_evaluate: list[Any],
    gpus: float,
    time_limit: float | None,
) -> None:
    """Run one Tune trial: lease jobs and evaluate them until none is left.

    Args:
        config: Tune's parameters of the trial, which are not used.
        study: Actor handle of the `StudyHost`.
        make_evaluate: A list with Ray's reference to the factory of `evaluate`. Ray would resolve a
            bare reference before this function can report that its import fails.
        gpus: GPUs of each worker.
        time_limit: Seconds after which an evaluation has failed; None for no limit.
    """
    from ray import tune  # noqa: PLC0415

    if not gpus:
        # Workers that request no GPU would see all GPUs of the node.
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    call, name = study.call, tune.get_context().get_trial_id()
    watch = Watch(time_limit)
    interval = HEARTBEAT_SECONDS if time_limit is None else min(HEARTBEAT_SECONDS, time_limit / 4)

    def send_heartbeats() -> None:
        while True:
            time.sleep(interval)
            call.remote("record_heartbeat", name)
            if results := watch.overdue_results():
                # A thread cannot end another one that hangs, and `sys.exit` ends this thread alone:
                # end the process, which Tune restarts.
                ray.get(call.remote("remove_worker", name, results))
                os._exit(1)

    def exchange(results: list[Result], held: list[Job]) -> Callable[[], list[Job] | None]:
        return partial(ray.get, call.remote("exchange", name, results, held))

    # Ray restarts an actor that crashes: if it is gone, the main process has ended the search.
    with suppress(ray.exceptions.RayActorError):
        if not ray.get(call.remote("register_worker", name)):
            return
        threading.Thread(target=send_heartbeats, daemon=True).start()
        try:
            # A failed import is reported here; Tune would restart the trial again and again.
            evaluate = ray.get(make_evaluate[0])()
        except Exception as error:
            ray.get(call.remote("give_up", name, describe_exception(error)))
            return
        evaluate_jobs(exchange, evaluate, watch)


class Watch:
    """Evaluates jobs so that another thread can see one that exceeds the time limit.

    Args:
        limit: Seconds after which an evaluation has failed; None for no limit.
        clock: Monotonic clock in seconds.
    """

    def __init__(self, limit: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._clock = clock
        self._current: tuple[Job, float] | None = None
        self._results: list[Result] = []

    def evaluate_batch(self, jobs: list[Job], evaluate: Evaluate) -> list[Result]:
        """Evaluate jobs one after the other."""
        self._results = []
        for job in order_jobs(evaluate, jobs):
            self._current = job, self._clock()
            outcome = evaluate_safely(evaluate, job.arch, self._limit)
            self._current = None
            self._results.append((job, outcome))
        return self._results

    def overdue_results(self) -> list[Result]:
        """Return the results so far and a failure if the current job is overdue, else none."""
        current = self._current
        if current is None or self._limit is None or self._clock() - current[1] <= self._limit:
            return []
        failure = Outcome({}, describe_timeout(self._limit), self._limit)
        return [*self._results, (current[0], failure)]


def evaluate_jobs(exchange: Exchange, evaluate: Evaluate, watch: Watch | None = None) -> None:
    """Evaluate jobs until the search is over; quick batches are prefetched.

    Args:
        exchange: Sends results and the jobs still held; returns a function that waits for the
            answer: new jobs, perhaps none yet, or None once the search is over.
        evaluate: Returns the metrics of an arch.
        watch: Watch on the time limit; None for no limit.
    """
    watch = watch or Watch(None)
    results: list[Result] = []
    jobs = exchange(results, [])()
    prefetching = False
    while jobs is not None:
        if not jobs and not results:
            time.sleep(IDLE_SECONDS)
        next_jobs = exchange(results, jobs) if prefetching else None
        started = time.monotonic()
        new_results = watch.evaluate_batch(jobs, evaluate)
        prefetching = bool(jobs) and time.monotonic() - started < PREFETCH_SECONDS
        if next_jobs is None:
            next_jobs, results = exchange(new_results, []), []
        else:
            results = new_results
        jobs = next_jobs()
        if jobs is not None and results and not prefetching:
            # Send the results now: the next jobs may take long or hang.
            more, results = exchange(results, jobs)(), []
            jobs = None if more is None else jobs + more
