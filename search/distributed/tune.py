"""The search on several processes: Ray Tune runs the evaluators.

A search of N archs is not N Tune trials, which would start a process for each. W long-lived trials
load weights and images once and lease archs from one actor, which holds the study and its storage.
Tune runs in a process of its own, so that the main process ends at once on Ctrl-C.
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

from search.distributed.connect import connected, describe_placement, fit_workers, here
from search.distributed.ray_api import TUNE, ask, cause_of, put, ray
from search.distributed.study_actor import HostStatus, StudyHost
from search.distributed.worker import evaluate_leases
from search.evaluators.base import shares_work
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
    with _tune_folder(workers) as folder, connected(workers) as own:
        options = here() | {"runtime_env": _runtime_env(workers, {} if own else TUNE)}
        started = fit_workers(_at_most(workers, search.trials), own)
        with _study(options, search, started.count, shares_work(make_evaluate)) as study:
            # A search that cannot be opened, or has ended, must not wait for weights and images.
            status: HostStatus = ask(study.status)
            on_event(status.progress)
            if status.goes_on:
                left = status.progress.total - status.progress.done
                started = _at_most(started, left)
                line = describe_placement(started, _at_most(workers, left).count)
                on_event(replace(status.progress, notes=(*status.progress.notes, line)))
                arguments = {
                    "study": study,
                    "made": [put(make_evaluate)],
                    "gpus": started.gpus,
                    "time_limit": time_limit,
                }
                tune = ray.remote(run_tune).options(**options, max_retries=RETRIES)
                task = tune.remote(arguments, started, folder)
                _follow(study, task, on_event)
                if not own:
                    # On a cluster, Tune ends by itself once the study is over.
                    ray.wait([task], timeout=PATIENCE_SECONDS)
            return cast(Front, ask(study.front))


def _at_most(workers: Workers, evaluations: int) -> Workers:
    """Limit the number of workers to that of the evaluations."""
    return replace(workers, count=min(workers.count, evaluations))


def _follow(study: Any, task: Any, on_event: OnProgress) -> None:
    """Report the progress until the search ends.

    Raises:
        InputError: The search cannot go on, or no worker is left.
    """
    going = True
    status: HostStatus = ask(study.status)
    while status.goes_on and going:
        # Looked at before the study: where Tune has ended, the state below is the last one.
        going = not ray.wait([task], timeout=0)[0]
        time.sleep(POLL_SECONDS)
        status = ask(study.status)
        on_event(status.progress)
    if status.error is not None:
        raise status.error
    if status.progress.ended is None:
        reason = "; ".join(dict.fromkeys(status.failed_workers)) or _why_ended(task)
        raise InputError(f"no worker is left to evaluate: {reason}")


def _why_ended(task: Any) -> str:
    """Describe the end of Tune's task."""
    try:
        ray.get(task)
    except ray.exceptions.RayError as error:
        return f"Ray Tune has ended: {cause_of(error)}"
    return "Ray Tune has ended"


def run_tune(arguments: Mapping[str, Any], workers: Workers, folder: str) -> None:
    """Run the workers as trials of Ray Tune, whose own results are not used.

    Args:
        arguments: Arguments of `evaluate_leases`.
        workers: Number of workers, and the resources of each.
        folder: Folder for Tune's files.
    """
    from ray import tune  # noqa: PLC0415

    study = arguments["study"]
    study.call.remote("forget_workers")
    tell, over = _observers(study)
    trainable = tune.with_parameters(evaluate_leases, **arguments)
    labels = [workers.ray.placement] if workers.ray.placement else None
    place = tune.PlacementGroupFactory([workers.bundle()], bundle_label_selector=labels)
    tune.Tuner(
        tune.with_resources(trainable, place),
        tune_config=tune.TuneConfig(num_samples=workers.count),
        run_config=tune.RunConfig(
            storage_path=folder,
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

    class Tell(tune.Callback):
        """Tells the study of trials that died."""

        def on_trial_recover(self, iteration: int, trials: Any, trial: Any, **_: Any) -> None:
            study.call.remote("note_death", trial.trial_id, _last_line(trial))

        def on_trial_error(self, iteration: int, trials: Any, trial: Any, **_: Any) -> None:
            study.call.remote("give_up", trial.trial_id, _last_line(trial))

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


def _tune_folder(workers: Workers) -> AbstractContextManager[str]:
    """Return the folder for Tune's files, by default a temporary one."""
    path = workers.ray.storage_path
    if path is None:
        # Processes of a cluster may still write into the folder while it is removed.
        return TemporaryDirectory(prefix="tokennas-tune-", ignore_cleanup_errors=True)
    return nullcontext(path if "://" in path else str(Path(path).absolute()))


def _runtime_env(workers: Workers, variables: Mapping[str, str]) -> dict[str, Any]:
    """Return the workers' `runtime_env`, with variables that it does not set."""
    wanted = dict(workers.ray.runtime_env)
    if variables:
        wanted["env_vars"] = {**variables, **wanted.get("env_vars", {})}
    return wanted


@contextmanager
def _study(options: dict[str, Any], search: Search, workers: int, sharing: bool) -> Iterator[Any]:
    """Start the actor that holds the study; it ends with the block."""
    name = f"study-{uuid.uuid4().hex[:8]}"
    actor = ray.remote(StudyHost).options(
        **options, name=name, max_restarts=-1, max_task_retries=-1
    )
    study = actor.remote(search, workers, sharing)
    patience: float | None = None
    try:
        yield study
    except KeyboardInterrupt:
        # Finished evaluations are stored, and workers end at their next exchange.
        patience = 0
        raise
    finally:
        ray.wait([study.close.remote()], timeout=patience)
        # Tune's task still holds a handle, which would keep the actor alive on a cluster.
        ray.kill(study)
