"""The search on several processes: Ray Tune runs the evaluators.

A search of N archs is not N Tune trials, which would start a process for each. W long-lived trials
load what they need once and lease archs from one actor, which holds the study and its storage. Tune
itself runs in a process of its own, so that this one only looks on, and ends at once on Ctrl-C.
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
from search.distributed.connect import connected, here, room, with_places
from search.distributed.environment import TUNE
from search.distributed.evaluating import Evaluation, evaluate_leases
from search.distributed.ray_api import ray
from search.distributed.study_actor import HostStatus, StudyHost
from search.evaluators.base import shares
from search.front.front import Front
from search.problem.objectives import Evaluate
from search.study.session import OnProgress, Search
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
    """The search with evaluators in processes of their own.

    Args:
        search: what is searched.
        make_evaluate: sent once to every node, and called in every worker there.
        on_event: called with the progress, a few times a second.
        workers: how many, where, and what each takes.
        time_limit: seconds after which an evaluation has failed.

    Raises:
        InputError: the search cannot be opened or go on, or no worker can evaluate.
        KeyboardInterrupt: all that was finished is stored.
    """
    # What Tune writes goes when Ray has ended, and with it whoever writes there.
    with _results(workers) as results, connected(workers) as own:
        started, gpus = with_places(_at_most(workers, search.trials), own)
        with _study(search, started, own, shares(make_evaluate)) as study:
            # A search that cannot be opened, or is at its end, has no use for weights and images.
            status: HostStatus = ask(study.status)
            on_event(status.progress)
            if status.goes_on:
                left = status.progress.total - status.progress.done
                started = _at_most(started, left)
                line = room(started, gpus, _at_most(workers, left).count)
                on_event(replace(status.progress, notes=(*status.progress.notes, line)))
                evaluation = Evaluation(study, [put(make_evaluate)], gpus, time_limit)
                with _tuning(evaluation, started, results, own) as task:
                    status = _look_on(study, task, on_event)
                _check(status, task)
            return cast(Front, ask(study.front))


def _at_most(workers: Workers, evaluations: int) -> Workers:
    """The workers for which there are evaluations: more would have nothing to do."""
    return replace(workers, count=min(workers.count, evaluations))


def _look_on(study: Any, task: Any, on_event: OnProgress) -> HostStatus:
    """Tell of the progress until there is no more."""
    going, status = True, cast(HostStatus, ask(study.status))
    while status.goes_on and going:
        # Asked before the study is: Tune ends soon after the search, and not before.
        going = not ray.wait([task], timeout=0)[0]
        time.sleep(POLL_SECONDS)
        status = ask(study.status)
        on_event(status.progress)
    return status


def _check(status: HostStatus, task: Any) -> None:
    """Tell why a search has ended that is not over.

    Raises:
        InputError: it cannot go on, or there is nobody to go on with it.
    """
    if status.error is not None:
        raise status.error
    if status.progress.ended is None:
        reason = "; ".join(dict.fromkeys(status.broken)) or f"Ray Tune has ended{_why(task)}"
        raise InputError(f"no worker is left to evaluate: {reason}")


def _why(task: Any) -> str:
    """Why a task has ended that should not have."""
    try:
        ray.get(task)
    except ray.exceptions.RayError as error:
        return f": {cause_of(error)}"
    return ""


def run_tune(evaluation: Evaluation, workers: Workers, results: str) -> None:
    """Tune's run of the evaluators; its own results say nothing that the search does not know.

    Args:
        evaluation: what they evaluate, and for whom.
        workers: how many, and where.
        results: folder for what Tune writes.
    """
    from ray import tune  # noqa: PLC0415

    tell, over = _observers(evaluation.study)
    evaluation.study.begin.remote()
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
            # Without end: what dies without any progress is counted by the leases.
            failure_config=tune.FailureConfig(max_failures=-1),
        ),
    ).fit()


def _observers(study: Any) -> tuple[Any, Any]:
    """What tells the study of trials that died, and what ends Tune with the study."""
    from ray import tune  # noqa: PLC0415
    from ray.tune.progress_reporter import TrialProgressCallback  # noqa: PLC0415

    class Tell(TrialProgressCallback):
        """Tells the study of trials that died. Takes the place of what prints about them."""

        def on_trial_complete(self, *_: Any, **__: Any) -> None:
            return

        def on_trial_recover(self, iteration: int, trials: Any, trial: Any, **_: Any) -> None:
            study.died.remote(trial.trial_id, _last_line(trial))

        def on_trial_error(self, iteration: int, trials: Any, trial: Any, **_: Any) -> None:
            study.give_up.remote(trial.trial_id, _last_line(trial))

    class Over(tune.Stopper):
        """Ends all trials with the study, those too that have found no place yet."""

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
    """Tune, in a task on this node."""
    remote: Any = ray.remote
    task = (
        remote(run_tune)
        .options(**here(), max_retries=RETRIES, **_runtime_env(workers, own))
        .remote(evaluation, workers, results)
    )
    yield task
    if not own:
        # Here nothing ends Tune but itself, when it sees that the study is over.
        ray.wait([task], timeout=PATIENCE_SECONDS)


@contextmanager
def _results(workers: Workers) -> Iterator[str]:
    """The folder for what Tune writes."""
    path = workers.ray.storage_path
    if path is not None:
        yield path if "://" in path else str(Path(path).absolute())
        return
    # Of a cluster, what still writes into the folder when it goes is not ours to end.
    with tempfile.TemporaryDirectory(prefix="tokennas-tune-", ignore_cleanup_errors=True) as folder:
        yield folder


def _runtime_env(workers: Workers, own: bool) -> dict[str, Any]:
    """What Ray sets up for processes; our own Ray has our environment already."""
    wanted = dict(workers.ray.runtime_env)
    if not own:
        wanted["env_vars"] = {**TUNE, **wanted.get("env_vars", {})}
    return {"runtime_env": wanted} if wanted else {}


@contextmanager
def _study(search: Search, workers: Workers, own: bool, sharing: bool) -> Iterator[Any]:
    """The actor that holds the study, on this node."""
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
        # Nobody waits: what was finished is stored, and workers end when they next ask for work.
        study.close.remote()
        raise
    except BaseException:
        with suppress(ray.exceptions.RayError):
            ray.get(study.close.remote())
        # What Tune was given refers to it still: in a Ray that goes on it would stay.
        ray.kill(study)
        raise
    ray.get(study.close.remote())
    ray.kill(study)
