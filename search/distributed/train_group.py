"""One job in several data-parallel processes, through Ray Train."""

from __future__ import annotations

import os
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from search.distributed.environment import environment
from search.distributed.ray_api import ray
from search.problem.evaluation import reason_of
from search.utils.launcher import PATIENCE
from search.utils.resources import Workers
from space.utils.errors import one_line
from space.utils.signals import ProcessLostError, ask_to_stop
from supernet.process_group import Processes

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


@dataclass(frozen=True)
class GroupJob:
    """Arguments of each process of a job.

    Args:
        folder: Working directory of the command.
        name: Name of the job.
        run_share: Runs the share of this rank.
        note: Stores the reason for a failure.
        notices: Actor handle of `Notices`.
        gpus: GPUs of each process.
    """

    folder: str
    name: str
    run_share: Callable[[], None]
    note: Callable[[str], None]
    notices: Any
    gpus: float


def run_in_group(job: GroupJob, workers: Workers, env: dict[str, Any]) -> str | None:
    """Run a job in a process group; return the reason for a failure, or None.

    Args:
        job: The job.
        workers: Number of processes, and the resources of each.
        env: Ray's `runtime_env` of the processes.
    """
    from ray.train import TrainingFailedError  # noqa: PLC0415

    os.chdir(job.folder)
    died = ""
    for _ in range(RETRIES + 1):
        # Ray Train insists on a storage folder; our checkpoints are elsewhere.
        with (
            tempfile.TemporaryDirectory(prefix="tokennas-train-") as books,
            environment(PATIENT),
        ):
            try:
                _trainer(job, workers, env, books).fit()
            except (TrainingFailedError, ray.exceptions.RayActorError) as error:
                reason: str | None = ray.get(job.notices.reason.remote(job.name))
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


def _trainer(job: GroupJob, workers: Workers, env: dict[str, Any], books: str) -> Any:
    import ray.train  # noqa: PLC0415
    import ray.train.torch  # noqa: PLC0415

    train: Any = ray.train
    return train.torch.TorchTrainer(
        train_share,
        train_loop_config={"job": job},
        torch_config=train.torch.TorchConfig(
            backend="cpu:gloo,cuda:nccl" if job.gpus else "gloo",
            timeout_s=int(PATIENCE.total_seconds()),
        ),
        scaling_config=train.ScalingConfig(
            num_workers=workers.processes,
            use_gpu=bool(job.gpus),
            resources_per_worker=workers.bundle(job.gpus),
            label_selector=dict(workers.ray.placement) or None,
        ),
        run_config=train.RunConfig(
            name=uuid.uuid4().hex[:8],
            storage_path=books,
            worker_runtime_env=env,
            # `run_in_group` retries, also where Ray Train's controller has failed.
            failure_config=train.FailureConfig(controller_failure_limit=0),
        ),
    )


def train_share(given: dict[str, Any]) -> None:
    """Run one process of Ray Train's process group, with `{"job": GroupJob}` as loop config."""
    import torch  # noqa: PLC0415
    from ray.train.torch import get_device  # noqa: PLC0415

    job: GroupJob = given["job"]
    with _stopping_when_told(job.notices):
        try:
            os.chdir(job.folder)
            if job.gpus:
                # Each process sees all GPUs of its node's processes.
                torch.cuda.set_device(get_device())
            job.run_share()
        except KeyboardInterrupt:
            return
        except Exception as error:
            # Where another process has died, Ray Train destroys the group: not this job's error.
            if not isinstance(error, ProcessLostError) and Processes.current().count > 1:
                ray.get(job.notices.met.remote(job.name, reason_of(error)))
            # Ray Train then ends the other processes, which wait for this one.
            raise


@contextmanager
def _stopping_when_told(notices: Any) -> Iterator[None]:
    """Poll for a stop request within the block: Ray Train's threads receive no signals."""
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(LOOK_SECONDS):
            if ray.get(notices.stopping.remote()):
                ask_to_stop()
                return

    threading.Thread(target=look, daemon=True).start()
    try:
        yield
    finally:
        ended.set()
