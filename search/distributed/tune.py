"""The search on several processes: Ray Tune runs the evaluators.

A search of N archs is not N Tune trials, which would start a process for each. W long-lived trials
load weights and images once and lease archs from one actor, which holds the study and its storage.
Tune runs in a process of its own, so that the main process ends at once on Ctrl-C.
"""

from __future__ import annotations

import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from search.distributed.calling import ask, cause_of, put
from search.distributed.connect import connected, describe_placement, fit_workers, here
from search.distributed.environment import TUNE
from search.distributed.evaluating import Evaluation, evaluate_leases
from search.distributed.ray_api import ray
from search.distributed.study_actor import HostStatus, StudyHost
from search.evaluators.base import shares
from search.front.front import Front
from search.problem.objectives import Evaluate
from search.study.search import Search
from search.study.session import OnProgress
from search.utils.resources import Workers
from space.utils.errors import InputError

POLL_SECONDS = 0.2
PATIENCE_SECONDS = 10.0
LOOK_SECONDS = 0.5
RETRIES = 10


def search_with_workers(
    search: Search,
    make_evaluate: Callable[[], Evaluate],
    on_event: OnProgress,
    workers: Workers,
    time_limit: float | None = None,
) -> Front:
    """Run a search with evaluators in processes of their own.

    Args:
        search: The search.
        make_evaluate: Makes `evaluate`; sent once to every node and called in every worker.
        on_event: Called with the progress, a few times a second.
        workers: Number of workers, and the resources of each.
        time_limit: Seconds after which an evaluation has failed; None for no limit.

    Raises:
        InputError: The search cannot be opened or go on, or no worker can evaluate.
        KeyboardInterrupt: Ctrl-C; all finished evaluations are stored.
    """
    # Tune's folder is removed after Ray has ended, when no process writes into it any more.
    with _results(workers) as results, connected(workers) as own:
        started, gpus = fit_workers(_at_most(workers, search.trials), own)
        with _study(search, started, own, shares(make_evaluate)) as study:
            # A search that cannot be opened, or has ended, must not wait for weights and images.
            status: HostStatus = ask(study.status)
            on_event(status.progress)
            if status.goes_on:
                left = status.progress.total - status.progress.done
                started = _at_most(started, left)
                line = describe_placement(started, gpus, _at_most(workers, left).count)
                on_event(replace(status.progress, notes=(*status.progress.notes, line)))
                evaluation = Evaluation(study, [put(make_evaluate)], gpus, time_limit)
                with _tuning(evaluation, started, results, own) as task:
                    status = _look_on(study, task, on_event)
                _check(status, task)
            return cast(Front, ask(study.front))


def _at_most(workers: Workers, evaluations: int) -> Workers:
    """Limit the number of workers to that of the evaluations."""
    return replace(workers, count=min(workers.count, evaluations))


def _look_on(study: Any, task: Any, on_event: OnProgress) -> HostStatus:
    """Report the progress until the search or Tune ends; return the last state."""
    going, status = True, cast(HostStatus, ask(study.status))
    while status.goes_on and going:
        # Looked at before the study: where Tune has ended, the state below is the last one.
        going = not ray.wait([task], timeout=0)[0]
        time.sleep(POLL_SECONDS)
        status = ask(study.status)
        on_event(status.progress)
    return status


def _check(status: HostStatus, task: Any) -> None:
    """Raise the reason why a search has stopped before its end.

    Raises:
        InputError: The search cannot go on, or no worker is left.
    """
    if status.error is not None:
        raise status.error
    if status.progress.ended is None:
        reason = (
            "; ".join(dict.fromkeys(status.failed_workers)) or f"Ray Tune has ended{_why(task)}"
        )
        raise InputError(f"no worker is left to evaluate: {reason}")


def _why(task: Any) -> str:
    """Return why a task has failed, or nothing."""
    try:
        ray.get(task)
    except ray.exceptions.RayError as error:
        return f": {cause_of(error)}"
    return ""


def run_tune(evaluation: Evaluation, workers: Workers, results: str) -> None:
    """Run the workers as trials of Ray Tune, whose own results are not used.

    Args:
        evaluation: Arguments of every worker.
        workers: Number of workers, and the resources of each.
        results: Folder for Tune's files.
    """
    from ray import tune  # noqa: PLC0415

    tell, over = _observers(evaluation.study)
    evaluation.study.forget_workers.remote()
    trainable = tune.with_parameters(evaluate_leases, evaluation=evaluation)
    labels = [workers.ray.placement] if workers.ray.placement else None
    bundle = workers.bundle(evaluation.gpus)
    place = tune.PlacementGroupFactory([bundle], bundle_label_selector=labels)
    tune.Tuner(
        tune.with_resources(trainable, place),
        tune_config=tune.TuneConfig(num_samples=workers.count),
        run_config=tune.RunConfig(
            storage_path=results,
            name=f"tokennas-{uuid.uuid4().hex[:8]}",
            verbose=0,
            callbacks=[tell],
            stop=over,
            # No limit: `Leases` counts deaths, and gives up workers that make no progress.
            failure_config=tune.FailureConfig(max_failures=-1),
        ),
    ).fit()


def _observers(study: Any) -> tuple[Any, Any]:
    """Make the callback that reports dead trials, and the stopper that ends Tune."""
    from ray import tune  # noqa: PLC0415
    from ray.tune.progress_reporter import TrialProgressCallback  # noqa: PLC0415

    class Tell(TrialProgressCallback):
        """Tells the study of trials that died. Replaces Ray Tune's progress reporter."""

        def on_trial_complete(self, *_: Any, **__: Any) -> None:
            return

        def on_trial_recover(self, iteration: int, trials: Any, trial: Any, **_: Any) -> None:
            study.note_death.remote(trial.trial_id, _last_line(trial))

        def on_trial_error(self, iteration: int, trials: Any, trial: Any, **_: Any) -> None:
            study.give_up.remote(trial.trial_id, _last_line(trial))

    class Over(tune.Stopper):
        """Ends all trials with the study, also those that wait for resources."""

        def __init__(self) -> None:
            self._looks_at = 0.0

        def __call__(self, *_: Any) -> bool:
            return False

        def stop_all(self) -> bool:
            if time.monotonic() < self._looks_at:
                return False
            self._looks_at = time.monotonic() + LOOK_SECONDS
            try:
                return bool(ray.get(study.over.remote()))
            except ray.exceptions.RayActorError:
                return True

    return Tell(), Over()


def _last_line(trial: Any) -> str:
    lines = str(trial.get_error() or "").strip().splitlines()
    return lines[-1] if lines else "it died"


@contextmanager
def _tuning(evaluation: Evaluation, workers: Workers, results: str, own: bool) -> Iterator[Any]:
    """Run Tune in a task on this node."""
    remote: Any = ray.remote
    task = (
        remote(run_tune)
        .options(**here(), max_retries=RETRIES, **_runtime_env(workers, own))
        .remote(evaluation, workers, results)
    )
    yield task
    if not own:
        # On a cluster, Tune ends by itself once the study is over.
        ray.wait([task], timeout=PATIENCE_SECONDS)


@contextmanager
def _results(workers: Workers) -> Iterator[str]:
    """Yield the folder for Tune's files."""
    path = workers.ray.storage_path
    if path is not None:
        yield path if "://" in path else str(Path(path).absolute())
        return
    # Processes of a cluster may still write into the folder while it is removed.
    with tempfile.TemporaryDirectory(prefix="tokennas-tune-", ignore_cleanup_errors=True) as folder:
        yield folder


def _runtime_env(workers: Workers, own: bool) -> dict[str, Any]:
    """Return Ray's `runtime_env`; a local Ray inherits the environment of this process."""
    wanted = dict(workers.ray.runtime_env)
    if not own:
        wanted["env_vars"] = {**TUNE, **wanted.get("env_vars", {})}
    return {"runtime_env": wanted} if wanted else {}


@contextmanager
def _study(search: Search, workers: Workers, own: bool, sharing: bool) -> Iterator[Any]:
    """Start the actor that holds the study, on this node."""
    remote: Any = ray.remote
    study = (
        remote(StudyHost)
        .options(
            **here(),
            **_runtime_env(workers, own),
            name=f"study-{uuid.uuid4().hex[:8]}",
            max_restarts=-1,
            max_task_retries=-1,
        )
        .remote(search, workers.count, sharing)
    )
    try:
        yield study
    except KeyboardInterrupt:
        # No wait: finished evaluations are stored, and workers end at their next exchange.
        study.close.remote()
        raise
    except BaseException:
        with suppress(ray.exceptions.RayError):
            ray.get(study.close.remote())
        # Tune's task still holds a handle, which would keep the actor alive on a cluster.
        ray.kill(study)
        raise
    ray.get(study.close.remote())
    ray.kill(study)
