"""The trainable of a worker: a Ray Tune trial that lives as long as the search."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from search.distributed.leases import HEARTBEAT_SECONDS, Result
from search.distributed.ray_api import ray
from search.distributed.worker import Watch, work
from search.problem.evaluation import Job, describe


@dataclass(frozen=True)
class Evaluation:
    """Arguments of every worker.

    Args:
        study: Actor handle of the `StudyHost`.
        made: The object reference of the function that makes `evaluate`, in a list: Ray would
            fetch a bare reference before the task starts.
        gpus: GPUs of each worker.
        time_limit: Seconds after which an evaluation has failed; None for no limit.
    """

    study: Any
    made: list[Any]
    gpus: float
    time_limit: float | None


def evaluate_leases(config: Mapping[str, Any], evaluation: Evaluation) -> None:
    """Run one Tune trial: lease jobs and evaluate them until none is left; `config` is not used."""
    from ray import tune  # noqa: PLC0415

    study = evaluation.study
    if not evaluation.gpus:
        # Workers that asked for no GPU would see all GPUs of the node.
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    name = tune.get_context().get_trial_id()
    watch, ended = Watch(evaluation.time_limit), threading.Event()

    def note_heartbeat() -> None:
        while not ended.wait(watch.step(HEARTBEAT_SECONDS)):
            study.note_heartbeat.remote(name)
            results = watch.overdue()
            if results:
                # No thread can end another one that hangs, and `sys.exit` ends this thread alone:
                # the process ends, and Tune starts it again.
                ray.get(study.remove_worker.remote(name, results))
                os._exit(1)

    try:
        if not ray.get(study.register_worker.remote(name)):
            return
        threading.Thread(target=note_heartbeat, daemon=True).start()
        try:
            # Fetched here: a module that this node lacks is reported instead of retried for ever.
            evaluate = ray.get(evaluation.made[0])()
        except Exception as error:
            ray.get(study.give_up.remote(name, describe(error)))
            return

        def exchange(results: list[Result], held: list[Job]) -> Callable[[], list[Job] | None]:
            return partial(ray.get, study.exchange.remote(name, results, held))

        work(exchange, evaluate, watch)
    except ray.exceptions.RayActorError:
        # The study's actor was killed: the search has ended.
        return
    finally:
        ended.set()
