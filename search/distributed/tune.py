"""Runs a search with workers, which are trials of Ray Tune.

N archs are not N Tune trials, each of which would start a process. W long-lived trials load weights
and images once and lease archs from one actor, which holds the study and its storage. Tune runs in
another process, so that the main process ends at once on Ctrl-C.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

from search.distributed.connect import connected, describe_placement, fit_workers, pin_to_this_node
from search.distributed.ray_api import TUNE_ENV, call_study, describe_cause, put_evaluator, ray
from search.distributed.study_actor import HostStatus, StudyHost
from search.distributed.worker import evaluate_leases
from search.evaluators.base import shares_work
from search.front.front import Front
from search.problem.objectives import Evaluate
from search.study.search import Search
from search.study.session import OnProgress
from search.utils.resources import Workers
from space.utils.errors import InputError

PROGRESS_SECONDS = 0.2
SHUTDOWN_SECONDS = 10.0
STOP_CHECK_SECONDS = 0.5
RETRIES = 10


def search_with_workers(
    search: Search,
    make_evaluate: Callable[[], Evaluate],
    on_event: OnProgress,
    workers: Workers,
) -> Front:
    """Run a search with evaluators in other processes.

    Args:
        search: The search.
        make_evaluate: Makes `evaluate`; sent to each node once and called in each worker.
        on_event: Called with the progress, a few times a second.
        workers: Number of workers, and the resources of each.

    Raises:
        InputError: The search cannot be opened or continued, or no worker can evaluate.
        KeyboardInterrupt: Ctrl-C; all finished evaluations are stored.
    """
    # Tune's folder is removed last: Ray's processes write into it.
    with _tune_folder(workers) as folder, connected(workers) as own_ray:
        env = dict(workers.ray.runtime_env)
        if not own_ray:  # ours was started with these variables
            env["env_vars"] = {**TUNE_ENV, **env.get("env_vars", {})}
        options = pin_to_this_node() | {"runtime_env": env}
        started = fit_workers(replace(workers, count=min(workers.count, search.trials)), own_ray)
        with _start_study(options, search, started.count, shares_work(make_evaluate)) as study:
            # A search that cannot be opened, or has ended, must not load weights and images.
            status: HostStatus = call_study(study.status)
            on_event(status.progress)
            if status.goes_on:
                remaining = status.progress.total - status.progress.done
                started = replace(started, count=min(started.count, remaining))
                line = describe_placement(started, min(workers.count, remaining))
                on_event(replace(status.progress, notes=(*status.progress.notes, line)))
                arguments = {
                    "study": study,
                    "make_evaluate": [put_evaluator(make_evaluate)],
                    "gpus": started.gpus,
                    "time_limit": search.options.time_limit,
                }
                tune = ray.remote(run_tune).options(**options, max_retries=RETRIES)
                task = tune.remote(arguments, started, folder)
                _report_progress(study, task, on_event)
                if not own_ray:
                    # On a cluster, Tune outlives this process; it ends once the study is over.
                    ray.wait([task], timeout=SHUTDOWN_SECONDS)
            return cast(Front, call_study(study.front))


def _report_progress(study: Any, task: Any, on_event: OnProgress) -> None:
    """Report the progress until the search ends.

    Raises:
        InputError: The search cannot continue, or no worker is left.
    """
    tune_runs = True
    status: HostStatus = call_study(study.status)
    while status.goes_on and tune_runs:
        # Checked before the study: if Tune has ended, the status read below is the final one.
        tune_runs = not ray.wait([task], timeout=0)[0]
        time.sleep(PROGRESS_SECONDS)
        status = call_study(study.status)
        on_event(status.progress)
    if status.error is not None:
        raise status.error
    if status.progress.ended is None:
        reason = "; ".join(dict.fromkeys(status.failed_workers)) or _describe_end(task)
        raise InputError(f"no worker is left to evaluate: {reason}")


def _describe_end(task: Any) -> str:
    """Describe why Tune's task has ended."""
    try:
        ray.get(task)
    except ray.exceptions.RayError as error:
        return f"Ray Tune has ended: {describe_cause(error)}"
    return "Ray Tune has ended"


def run_tune(arguments: Mapping[str, Any], workers: Workers, folder: str) -> None:
    """Run the workers as trials of Ray Tune; its results are not used.

    Args:
        arguments: Arguments of `evaluate_leases`.
        workers: Number of workers, and the resources of each.
        folder: Folder for Tune's files.
    """
    from ray import tune  # noqa: PLC0415

    study = arguments["study"]
    study.call.remote("forget_workers")
    reporter, stopper = _make_observers(study)
    trainable = tune.with_parameters(evaluate_leases, **arguments)
    labels = [workers.ray.placement] if workers.ray.placement else None
    resources = tune.PlacementGroupFactory([workers.bundle()], bundle_label_selector=labels)
    tune.Tuner(
        tune.with_resources(trainable, resources),
        tune_config=tune.TuneConfig(num_samples=workers.count),
        run_config=tune.RunConfig(
            storage_path=folder,
            name=f"tokennas-{uuid.uuid4().hex[:8]}",
            verbose=0,
            callbacks=[reporter],
            stop=stopper,
            # No limit: `Leases` counts deaths and gives up workers without progress.
            failure_config=tune.FailureConfig(max_failures=-1),
        ),
    ).fit()


def _make_observers(study: Any) -> tuple[Any, Any]:
    """Make the callback that reports dead trials, and the stopper that ends Tune."""
    from ray import tune  # noqa: PLC0415

    class DeathReporter(tune.Callback):
        """Reports trials that died to the study."""

        def on_trial_recover(self, iteration: int, trials: Any, trial: Any, **_: Any) -> None:
            study.call.remote("record_death", trial.trial_id, _last_line(trial))

        def on_trial_error(self, iteration: int, trials: Any, trial: Any, **_: Any) -> None:
            study.call.remote("give_up", trial.trial_id, _last_line(trial))

    class StudyStopper(tune.Stopper):
        """Stops all trials when the study is over, also those that wait for resources."""

        def __init__(self) -> None:
            self._next_check = 0.0

        def __call__(self, *_: Any) -> bool:
            return False

        def stop_all(self) -> bool:
            if time.monotonic() < self._next_check:
                return False
            self._next_check = time.monotonic() + STOP_CHECK_SECONDS
            try:
                return bool(ray.get(study.is_over.remote()))
            except ray.exceptions.RayActorError:
                return True

    return DeathReporter(), StudyStopper()


def _last_line(trial: Any) -> str:
    """Return the last line of a trial's error."""
    lines = str(trial.get_error() or "").strip().splitlines()
    return lines[-1] if lines else "it died"


def _tune_folder(workers: Workers) -> AbstractContextManager[str]:
    """Return the folder for Tune's files, by default a temporary one."""
    path = workers.ray.storage_path
    if path is None:
        # On a cluster, processes may write into the folder while it is removed.
        return TemporaryDirectory(prefix="tokennas-tune-", ignore_cleanup_errors=True)
    return nullcontext(path if "://" in path else str(Path(path).absolute()))


@contextmanager
def _start_study(
    options: dict[str, Any], search: Search, workers: int, sharing: bool
) -> Iterator[Any]:
    """Start the actor that holds the study; it ends with the block."""
    name = f"study-{uuid.uuid4().hex[:8]}"
    actor = ray.remote(StudyHost).options(
        **options, name=name, max_restarts=-1, max_task_retries=-1
    )
    study = actor.remote(search, workers, sharing)
    timeout: float | None = None
    try:
        yield study
    except KeyboardInterrupt:
        # Finished evaluations are stored; workers end at their next exchange.
        timeout = 0
        raise
    finally:
        ray.wait([study.close.remote()], timeout=timeout)
        # Tune's task holds a handle, which would keep the actor alive on a cluster.
        ray.kill(study)
