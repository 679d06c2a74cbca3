"""A worker: a Ray Tune trial that exchanges results for jobs as long as the search lasts."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from search.distributed.leases import HEARTBEAT_SECONDS, Result
from search.distributed.ray_api import ray
from search.evaluators.base import evaluate_safely, order_jobs
from search.evaluators.time_limit import describe_timeout
from search.problem.evaluation import Job, Outcome, describe_exception
from search.problem.objectives import Evaluate

# Between two requests while no job is free; the jobs of a worker that dies become free.
IDLE_SECONDS = 0.2
# Slower batches are not prefetched: at the end of a search, idle workers could take them.
AHEAD_SECONDS = 2.0

Exchange = Callable[[list[Result], list[Job]], Callable[[], list[Job] | None]]


def evaluate_leases(
    config: Mapping[str, Any],
    study: Any,
    made: list[Any],
    gpus: float,
    time_limit: float | None,
) -> None:
    """Run one Tune trial: lease jobs and evaluate them until none is left.

    Args:
        config: Tune's values of the trial, which are not used.
        study: Actor handle of the `StudyHost`.
        made: The object reference of the function that makes `evaluate`, in a list: Ray would
            fetch a bare reference before the task starts.
        gpus: GPUs of each worker.
        time_limit: Seconds after which an evaluation has failed; None for no limit.
    """
    from ray import tune  # noqa: PLC0415

    if not gpus:
        # Workers that asked for no GPU would see all GPUs of the node.
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    call, name = study.call, tune.get_context().get_trial_id()
    watch = Watch(time_limit)
    pause = HEARTBEAT_SECONDS if time_limit is None else min(HEARTBEAT_SECONDS, time_limit / 4)

    def note_heartbeat() -> None:
        while True:
            time.sleep(pause)
            call.remote("note_heartbeat", name)
            results = watch.overdue()
            if results:
                # No thread can end another one that hangs, and `sys.exit` ends this thread alone:
                # the process ends, and Tune starts it again.
                ray.get(call.remote("remove_worker", name, results))
                os._exit(1)

    def exchange(results: list[Result], held: list[Job]) -> Callable[[], list[Job] | None]:
        return partial(ray.get, call.remote("exchange", name, results, held))

    try:
        if not ray.get(call.remote("register_worker", name)):
            return
        threading.Thread(target=note_heartbeat, daemon=True).start()
        try:
            # Fetched here: a module that this node lacks is reported instead of retried for ever.
            evaluate = ray.get(made[0])()
        except Exception as error:
            ray.get(call.remote("give_up", name, describe_exception(error)))
            return
        work(exchange, evaluate, watch)
    except ray.exceptions.RayActorError:
        # The study's actor was killed: the search has ended.
        return


class Watch:
    """Evaluates jobs so that another thread can see which one takes too long.

    Args:
        limit: Seconds after which an evaluation has failed; None for no limit.
        clock: Monotonic clock in seconds.
    """

    def __init__(self, limit: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._clock = clock
        self._now: tuple[Job, float] | None = None
        self._done: list[Result] = []

    def batch(self, jobs: list[Job], evaluate: Evaluate) -> list[Result]:
        """Evaluate jobs one after the other."""
        self._done = []
        for job in order_jobs(evaluate, jobs):
            self._now = job, self._clock()
            outcome = evaluate_safely(evaluate, job.arch, self._limit)
            self._now = None
            self._done.append((job, outcome))
        return self._done

    def overdue(self) -> list[Result]:
        """Return the batch's results so far and a failure, if the current job is overdue."""
        now = self._now
        if now is None or self._limit is None or self._clock() - now[1] <= self._limit:
            return []
        return [*self._done, (now[0], Outcome({}, describe_timeout(self._limit), self._limit))]


def work(exchange: Exchange, evaluate: Evaluate, watch: Watch | None = None) -> None:
    """Evaluate until no job is left; quick batches are prefetched.

    Args:
        exchange: Sends results and the jobs still held, and returns a function that waits for new
            jobs: None once the search is over.
        evaluate: Returns the metrics of an arch.
        watch: The watch on the time limit; None for no limit.
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
            # Sent before the next jobs begin, which may take long, or never end.
            more, results = exchange(results, jobs)(), []
            jobs = None if more is None else jobs + more
