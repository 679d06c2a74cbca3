"""The search on several processes: Ray Tune runs the evaluators. The only module that imports ray.

A search of N archs is not N Tune trials, which would start a process for each. W long-lived trials
load what they need once and lease archs from one actor, which holds the study and its storage. Tune
itself runs in a process of its own, so that this one only looks on, and ends at once on Ctrl-C.
"""

from __future__ import annotations

import logging
import math
import os
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

from search.environment import OWN, RAY, TUNE, environment, silent_stderr
from search.front import Front
from search.host import Status, StudyHost, Workers
from search.leases import BEAT_SECONDS
from search.objectives import Evaluate
from search.record import describe
from search.session import OnProgress, Search
from search.worker import work
from space.errors import InputError

POLL_SECONDS = 0.2
PATIENCE_SECONDS = 10.0
RETRIES = 10


def search_with_workers(
    search: Search, make_evaluate: Callable[[], Evaluate], on_event: OnProgress, workers: Workers
) -> Front:
    """The search with evaluators in processes of their own.

    Args:
        search: what is searched.
        make_evaluate: sent to every worker and called there once.
        on_event: called with the progress, a few times a second.
        workers: how many, where, and what each takes.

    Raises:
        InputError: the search cannot be opened or go on, or no worker can evaluate.
        KeyboardInterrupt: all that was finished is stored.
    """
    # What still writes into the folder when it goes, is Ray's to end.
    folder = tempfile.TemporaryDirectory(prefix="tokennas-tune-", ignore_cleanup_errors=True)
    with folder as results, _ray(workers) as own, _study(search, workers) as study:
        # Tune needs as long to start as the study to open: they do so side by side.
        with _tuning(study, make_evaluate, workers, results, own) as alive:
            status: Status = _ask(study.status)
            on_event(status.progress)
            while status.goes_on and alive():
                time.sleep(POLL_SECONDS)
                status = _ask(study.status)
                on_event(status.progress)
        if status.error is not None:
            raise status.error
        if status.progress.ended is None:
            reason = "; ".join(dict.fromkeys(status.broken)) or "Ray Tune has ended"
            raise InputError(f"no worker is left to evaluate: {reason}")
        return cast(Front, _ask(study.front))


def evaluate_leases(config: Mapping[str, Any], study: Any = None, made: Any = None) -> None:
    """One Tune trial: evaluates what it leases until there is nothing left.

    Args:
        config: Tune's; not used.
        study: handle of the `StudyHost`.
        made: a list of the reference to what makes `evaluate`.
    """
    import ray  # noqa: PLC0415
    from ray import tune  # noqa: PLC0415

    name = tune.get_context().get_trial_id()
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(BEAT_SECONDS):
            study.beat.remote(name)

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
        work(lambda results: partial(ray.get, study.exchange.remote(name, results)), evaluate)
    except ray.exceptions.RayActorError:
        # The study is gone for good: the search has ended without us.
        return
    finally:
        ended.set()


def run_tune(study: Any, made: Any, workers: Workers, results: str) -> None:
    """Tune's run of the evaluators; its own results say nothing that the search does not know.

    Args:
        study, made: see `evaluate_leases`.
        workers: how many, and what each takes.
        results: folder for what Tune writes.
    """
    from ray import tune  # noqa: PLC0415
    from ray.tune.progress_reporter import TrialProgressCallback  # noqa: PLC0415

    class Watch(TrialProgressCallback):
        """Tells the study of trials that died. Takes the place of what prints about them."""

        def on_trial_complete(self, *_: Any, **__: Any) -> None:
            return

        def on_trial_recover(self, iteration: int, trials: Any, trial: Any, **_: Any) -> None:
            study.died.remote(trial.trial_id, _last_line(trial))

        def on_trial_error(self, iteration: int, trials: Any, trial: Any, **_: Any) -> None:
            study.give_up.remote(trial.trial_id, _last_line(trial))

    trainable = tune.with_parameters(evaluate_leases, study=study, made=made)
    resources = {"cpu": workers.cpus, **({"gpu": workers.gpus} if workers.gpus else {})}
    tune.Tuner(
        tune.with_resources(trainable, resources),
        tune_config=tune.TuneConfig(num_samples=workers.count),
        run_config=tune.RunConfig(
            storage_path=results,
            verbose=0,
            callbacks=[Watch()],
            # Without end: what dies without any progress is counted by the leases.
            failure_config=tune.FailureConfig(max_failures=-1),
        ),
    ).fit()


def _last_line(trial: Any) -> str:
    lines = str(trial.get_error() or "").strip().splitlines()
    return lines[-1] if lines else "it died"


@contextmanager
def _tuning(
    study: Any,
    make_evaluate: Callable[[], Evaluate],
    workers: Workers,
    results: str,
    own: bool,
) -> Iterator[Callable[[], bool]]:
    """Tune, in a process on this node; gives whether it is alive."""
    import ray  # noqa: PLC0415

    made = [_put(make_evaluate)]
    remote: Any = ray.remote
    # Our own Ray has this environment already.
    environment = {} if own else {"runtime_env": {"env_vars": TUNE}}
    task = (
        remote(run_tune)
        .options(**_here(), max_retries=RETRIES, **environment)
        .remote(study, made, workers, results)
    )
    yield lambda: not ray.wait([task], timeout=0)[0]
    if not own:
        # Elsewhere nothing ends the evaluators but themselves.
        ray.wait([task], timeout=PATIENCE_SECONDS)


@contextmanager
def _study(search: Search, workers: Workers) -> Iterator[Any]:
    """The actor that holds the study, on this node."""
    import ray  # noqa: PLC0415

    remote: Any = ray.remote
    study = (
        remote(StudyHost)
        .options(
            **_here(),
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
        ray.get(study.close.remote())
        raise
    ray.get(study.close.remote())


def _put(make_evaluate: Callable[[], Evaluate]) -> Any:
    import ray  # noqa: PLC0415

    try:
        return ray.put(make_evaluate)
    except Exception as error:
        # Of whatever kind the part is that cannot be pickled. Ray's own message is a page; that of
        # the pickler, which it comes from, a line.
        cause = error.__cause__ or error
        raise InputError(f"what evaluates cannot be sent to workers: {cause}") from None


def _here() -> dict[str, Any]:
    """Options of what runs on this node and takes none of its cores."""
    import ray  # noqa: PLC0415
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy  # noqa: PLC0415

    node = ray.get_runtime_context().get_node_id()
    here = NodeAffinitySchedulingStrategy(node, soft=False)
    return {"num_cpus": 0, "scheduling_strategy": here}


@contextmanager
def _ray(workers: Workers) -> Iterator[bool]:
    """The Ray that this process is connected to, or the one at the address, or one of our own.

    Gives whether it is our own, which ends with the search.
    """
    own = workers.address is None
    try:
        with environment(RAY | (TUNE | OWN if own else {})):
            _read_authentication()
            import ray  # noqa: PLC0415

            if ray.is_initialized():
                yield False
                return
            arguments: dict[str, Any] = {"address": workers.address}
            if own:
                cores = max(os.cpu_count() or 1, math.ceil(workers.count * workers.cpus))
                arguments = {"address": "local", "num_cpus": cores, "include_dashboard": False}
            ray.init(**arguments, log_to_driver=False, logging_level=logging.CRITICAL)
            try:
                yield own
            finally:
                # Ray's core tells the terminal what it could no longer send.
                with silent_stderr():
                    if own:
                        _end_monitor()
                    ray.shutdown()
    finally:
        _read_authentication()


def _end_monitor() -> None:
    """End the autoscaler's monitor, for which Ray's shutdown would wait a second."""
    import ray  # noqa: PLC0415

    node = getattr(ray._private.worker, "_global_node", None)
    if node is not None and hasattr(node, "kill_monitor"):
        node.kill_monitor(check_alive=False)


def _read_authentication() -> None:
    """Make Ray read mode and token anew: it keeps what it found when it was imported."""
    if "ray" in sys.modules:
        from ray import _raylet  # noqa: PLC0415

        raylet: Any = _raylet
        raylet.Config.initialize("")
        raylet.AuthenticationTokenLoader.instance().reset_cache()


def _ask(method: Any) -> Any:
    """Call a method of the study; an error of ours comes back as it was raised."""
    import ray  # noqa: PLC0415

    try:
        return ray.get(method.remote())
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, InputError):
            raise error.cause from None
        raise
