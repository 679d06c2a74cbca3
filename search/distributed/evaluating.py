"""What a worker does: a trial of Ray Tune's, which lives as long as the search."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from search.distributed.leases import BEAT_SECONDS, Result
from search.distributed.ray_api import ray
from search.distributed.worker import Watch, work
from search.problem.evaluation import Job, describe


@dataclass(frozen=True)
class Evaluation:
    """What every worker is given.

    Args:
        study: handle of the `StudyHost`.
        made: a list of the reference to what makes `evaluate`; in a list it is not fetched.
        gpus: of each worker.
        time_limit: seconds after which an evaluation has failed.
    """

    study: Any
    made: list[Any]
    gpus: float
    time_limit: float | None


def evaluate_leases(config: Mapping[str, Any], evaluation: Evaluation) -> None:
    """One Tune trial: evaluates what it leases until there is nothing left.

    Args:
        config: Tune's; not used.
        evaluation: what, and for whom.
    """
    from ray import tune  # noqa: PLC0415

    study = evaluation.study
    if not evaluation.gpus:
        # Those of the node are others'.
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    name = tune.get_context().get_trial_id()
    watch, ended = Watch(evaluation.time_limit), threading.Event()

    def beat() -> None:
        while not ended.wait(watch.step(BEAT_SECONDS)):
            study.beat.remote(name)
            results = watch.overdue()
            if results:
                # No thread can end another one that hangs, and `sys.exit` would end this one alone:
                # the process ends, and is started again.
                ray.get(study.leave.remote(name, results))
                os._exit(1)

    try:
        if not ray.get(study.hello.remote(name)):
            return
        threading.Thread(target=beat, daemon=True).start()
        try:
            # Fetched here, where a module that this machine lacks is told and not tried for ever.
            evaluate = ray.get(evaluation.made[0])()
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
