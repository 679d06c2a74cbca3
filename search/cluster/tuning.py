"""The search on several processes: Ray Tune runs the evaluators.

A search of N archs is not N Tune trials, which would start a process for each. W long-lived trials
load what they need once and lease archs from one actor, which holds the study and its storage. Tune
itself runs in a process of its own, so that this one only looks on, and ends at once on Ctrl-C.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, cast

from search.cluster.calling import ask, put
from search.cluster.connecting import connected, gpus_there, here
from search.environment import TUNE
from search.front import Front
from search.host import Status, StudyHost
from search.leases import BEAT_SECONDS, Result
from search.objectives import Evaluate
from search.record import Job, describe
from search.session import OnProgress, Search
from search.worker import Watch, work
from search.workers import Workers
from space.errors import InputError

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
    with connected(workers) as own, _study(search, workers, own) as study:
        # Tune needs as long to start as the study to open: they do so side by side.
        with _tuning(study, make_evaluate, workers, time_limit, own) as alive:
            status: Status = ask(study.status)
            on_event(status.progress)
            going = True
            while status.goes_on and going:
                # Asked before the study is: Tune ends soon after the search, and not before.
                going = alive()
                time.sleep(POLL_SECONDS)
                status = ask(study.status)
                on_event(status.progress)
        if status.error is not None:
            raise status.error
        if status.progress.ended is None:
            reason = "; ".join(dict.fromkeys(status.broken)) or "Ray Tune has ended"
            raise InputError(f"no worker is left to evaluate: {reason}")
        return cast(Front, ask(study.front))


def evaluate_leases(
    config: Mapping[str, Any],
    study: Any = None,
    made: Any = None,
    gpus: float = 0.0,
    time_limit: float | None = None,
) -> None:
    """One Tune trial: evaluates what it leases until there is nothing left.

    Args:
        config: Tune's; not used.
        study: handle of the `StudyHost`.
        made: a list of the reference to what makes `evaluate`.
        gpus: its share.
        time_limit: seconds after which an evaluation has failed.
    """
    import ray  # noqa: PLC0415
    from ray import tune  # noqa: PLC0415

    if not gpus:
        # Those of the node are others'.
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    name = tune.get_context().get_trial_id()
    watch, ended = Watch(time_limit), threading.Event()

    def beat() -> None:
        while not ended.wait(watch.step(BEAT_SECONDS)):
            study.beat.remote(name)
            results = watch.overdue()
            if results:
                # Whatever hangs may hang for ever: this process ends, and is started again.
                ray.get(study.leave.remote(name, results))
                os._exit(1)

    try:
        if not ray.get(study.hello.remote(name)):
            return
        threading.Thread(target=beat, daemon=True).start()
        try:
            # Fetched here, where a module that this machine lacks is told and not tried for ever.
            evaluate = ray.get(made[0])()
        except Exception as error:
            ray.get(study.give_up.remote(name, describe(error)))
            return

        def exchange(results: list[Result], held: list[Job]) -> Callable[[], list[Job] | None]:
            return partial(ray.get, study.exchange.remote(name, results, held))

        work(exchange, evaluate, watch)
    except ray.exceptions.RayActorError:
        # The study is gone for good: the search has ended without us.
        return
    finally:
        ended.set()


def run_tune(
    study: Any, made: Any, workers: Workers, time_limit: float | None, results: str
) -> None:
    """Tune's run of the evaluators; its own results say nothing that the search does not know.

    Args:
        study, made, time_limit: see `evaluate_leases`.
        workers: how many, and what each takes.
        results: folder for what Tune writes.
    """
    from ray import tune  # noqa: PLC0415

    tell, over = _observers(study)
    study.begin.remote()
    gpus = workers.share(gpus_there())
    trainable = tune.with_parameters(
        evaluate_leases, study=study, made=made, gpus=gpus, time_limit=time_limit
    )
    labels = [workers.ray.placement] if workers.ray.placement else None
    place = tune.PlacementGroupFactory([workers.bundle(gpus)], bundle_label_selector=labels)
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
    import ray  # noqa: PLC0415
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
def _tuning(
    study: Any,
    make_evaluate: Callable[[], Evaluate],
    workers: Workers,
    time_limit: float | None,
    own: bool,
) -> Iterator[Callable[[], bool]]:
    """Tune, in a process on this node; gives whether it is alive."""
    import ray  # noqa: PLC0415

    made = [put(make_evaluate)]
    remote: Any = ray.remote
    with _results(workers) as results:
        task = (
            remote(run_tune)
            .options(**here(), max_retries=RETRIES, **_runtime_env(workers, own))
            .remote(study, made, workers, time_limit, results)
        )
        yield lambda: not ray.wait([task], timeout=0)[0]
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
    # What still writes into the folder when it goes, is Ray's to end.
    with tempfile.TemporaryDirectory(prefix="tokennas-tune-", ignore_cleanup_errors=True) as folder:
        yield folder


def _runtime_env(workers: Workers, own: bool) -> dict[str, Any]:
    """What Ray sets up for processes; our own Ray has our environment already."""
    wanted = dict(workers.ray.runtime_env)
    if not own:
        wanted["env_vars"] = {**TUNE, **wanted.get("env_vars", {})}
    return {"runtime_env": wanted} if wanted else {}


@contextmanager
def _study(search: Search, workers: Workers, own: bool) -> Iterator[Any]:
    """The actor that holds the study, on this node."""
    import ray  # noqa: PLC0415

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
        .remote(search, workers.count)
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
        raise
    ray.get(study.close.remote())
