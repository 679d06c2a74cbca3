"""One job in several data-parallel processes, through Ray Train."""

from __future__ import annotations

import os
import tempfile
import threading
import time
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from search.distributed.ray_api import environment, ray
from search.problem.evaluation import reason_of
from search.utils.launcher import PATIENCE
from search.utils.resources import Workers
from space.utils.errors import one_line
from space.utils.signals import ProcessLostError, request_stop
from supernet.process_group import Processes

if TYPE_CHECKING:
    from search.distributed.jobs import LongJob

RETRIES = 3
LOOK_SECONDS = 0.5
# Ray Train would give up after a minute a group that waits for free resources.
PATIENT = {"RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": str(10 * 365 * 86400)}


class Notices:
    """Actor through which the command and the training processes exchange messages."""

    def __init__(self) -> None:
        self._stopping = False
        self._reasons: dict[str, str] = {}

    def stop(self) -> None:
        """Ask all processes to write a checkpoint and end."""
        self._stopping = True

    def stopping(self) -> bool:
        return self._stopping

    def met(self, name: str, reason: str) -> None:
        """Store why a network cannot be retrained; the first reason counts."""
        self._reasons.setdefault(name, reason)

    def reason(self, name: str) -> str | None:
        return self._reasons.get(name)


def run_in_group(
    job: LongJob, folder: str, workers: Workers, env: dict[str, Any], notices: Any
) -> str | None:
    """Run a job in a process group; return the reason for a failure, or None.

    Args:
        job: The job.
        folder: Working directory of the command.
        workers: Number of processes, and the resources of each.
        env: Ray's `runtime_env` of the processes.
        notices: Actor handle of `Notices`.
    """
    from ray.train import TrainingFailedError  # noqa: PLC0415

    os.chdir(folder)
    arguments = {"job": job, "folder": folder, "gpus": workers.gpus, "notices": notices}
    died = ""
    for _ in range(RETRIES + 1):
        # Ray Train insists on a storage folder; our checkpoints are elsewhere.
        with (
            tempfile.TemporaryDirectory(prefix="tokennas-train-") as books,
            environment(PATIENT),
        ):
            try:
                _trainer(arguments, workers, env, books).fit()
            except (TrainingFailedError, ray.exceptions.RayActorError) as error:
                reason: str | None = ray.get(notices.reason.remote(job.name))
                if reason is not None:
                    return reason
                died = how_they_died(error)
            else:
                return None
    reason = f"its processes died {RETRIES + 1} times: {died}"
    job.note(reason)
    return reason


def how_they_died(error: BaseException) -> str:
    """Return the cause of Ray Train's error in a line; its own message is a page."""
    failed: Mapping[int, Exception] = getattr(error, "worker_failures", {})
    # The process that died first; the others failed because it was gone.
    first = [each for each in failed.values() if hasattr(each, "health_check_failure")]
    if first:
        return one_line(getattr(first[0], "health_check_failure"))  # noqa: B009 - Ray's own
    return one_line(getattr(error, "controller_failure", error))


def _trainer(arguments: dict[str, Any], workers: Workers, env: dict[str, Any], books: str) -> Any:
    import ray.train.torch  # noqa: PLC0415

    train: Any = ray.train
    return train.torch.TorchTrainer(
        train_share,
        train_loop_config=arguments,
        torch_config=train.torch.TorchConfig(
            backend="cpu:gloo,cuda:nccl" if workers.gpus else "gloo",
            timeout_s=int(PATIENCE.total_seconds()),
        ),
        scaling_config=train.ScalingConfig(
            num_workers=workers.processes,
            use_gpu=bool(workers.gpus),
            resources_per_worker=workers.bundle(),
            label_selector=workers.ray.placement or None,
        ),
        run_config=train.RunConfig(
            name=uuid.uuid4().hex[:8],
            storage_path=books,
            worker_runtime_env=env,
            # `run_in_group` retries, also where Ray Train's controller has failed.
            failure_config=train.FailureConfig(controller_failure_limit=0),
        ),
    )


def train_share(arguments: dict[str, Any]) -> None:
    """Run one process of Ray Train's process group, with the arguments of `run_in_group`."""
    import torch  # noqa: PLC0415
    from ray.train.torch import get_device  # noqa: PLC0415

    job: LongJob = arguments["job"]
    notices = arguments["notices"]
    threading.Thread(target=_stop_when_told, args=(notices,), daemon=True).start()
    try:
        os.chdir(arguments["folder"])
        if arguments["gpus"]:
            # Each process sees all GPUs of its node's processes.
            torch.cuda.set_device(get_device())
        job.run_share()
    except KeyboardInterrupt:
        return
    except Exception as error:
        # Where another process has died, Ray Train destroys the group: not this job's error.
        if not isinstance(error, ProcessLostError) and Processes.current().count > 1:
            ray.get(notices.met.remote(job.name, reason_of(error)))
        # Ray Train then ends the other processes, which wait for this one.
        raise


def _stop_when_told(notices: Any) -> None:
    """Wait for a stop request: Ray Train's threads receive no signals."""
    while not ray.get(notices.stopping.remote()):
        time.sleep(LOOK_SECONDS)
    request_stop()
