"""Runs a job in several data-parallel processes, through Ray Train."""

from __future__ import annotations

import os
import tempfile
import threading
import time
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from search.distributed.ray_api import ray, set_env
from search.problem.evaluation import format_error
from search.utils.launcher import GROUP_TIMEOUT
from search.utils.resources import Workers
from space.utils.errors import one_line
from space.utils.signals import ProcessLostError, request_stop
from supernet.process_group import Processes

if TYPE_CHECKING:
    from search.distributed.jobs import LongJob

RETRIES = 3
POLL_SECONDS = 0.5
# Ten years: by default Ray Train gives up after waiting a minute for free resources.
START_TIMEOUT = {"RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": str(10 * 365 * 86400)}


class Mailbox:
    """Actor through which the command and the training processes exchange messages."""

    def __init__(self) -> None:
        self._stop_requested = False
        self._failures: dict[str, str] = {}

    def stop(self) -> None:
        """Ask all processes to write a checkpoint and end."""
        self._stop_requested = True

    def is_stop_requested(self) -> bool:
        """Return whether the processes should end."""
        return self._stop_requested

    def report_failure(self, name: str, reason: str) -> None:
        """Store the reason for a job's failure, unless it has one."""
        self._failures.setdefault(name, reason)

    def get_failure(self, name: str) -> str | None:
        """Return the reason for a job's failure, if any."""
        return self._failures.get(name)


def run_in_group(
    job: LongJob, working_dir: str, workers: Workers, env: dict[str, Any], mailbox: Any
) -> str | None:
    """Run a job in a process group; return the reason for a failure, or None.

    Args:
        job: The job.
        working_dir: Working directory of the command.
        workers: Number of processes, and the resources of each.
        env: Ray's `runtime_env` of the processes.
        mailbox: Actor handle of the `Mailbox`.
    """
    from ray.train import TrainingFailedError  # noqa: PLC0415

    os.chdir(working_dir)
    arguments = {"job": job, "cwd": working_dir, "gpus": workers.gpus, "mailbox": mailbox}
    last_death = ""
    for _ in range(RETRIES + 1):
        # Ray Train requires a storage folder; our checkpoints are elsewhere.
        with (
            tempfile.TemporaryDirectory(prefix="tokennas-train-") as storage,
            set_env(START_TIMEOUT),
        ):
            try:
                _make_trainer(arguments, workers, env, storage).fit()
            except (TrainingFailedError, ray.exceptions.RayActorError) as error:
                reason: str | None = ray.get(mailbox.get_failure.remote(job.name))
                if reason is not None:
                    return reason
                last_death = describe_deaths(error)
            else:
                return None
    reason = f"its processes died {RETRIES + 1} times: {last_death}"
    job.store_failure(reason)
    return reason


def describe_deaths(error: BaseException) -> str:
    """Describe the cause of Ray Train's error in a line; its own message is a page."""
    failures: Mapping[int, Exception] = getattr(error, "worker_failures", {})
    # The process that died first; the others failed because it was gone.
    first = [each for each in failures.values() if hasattr(each, "health_check_failure")]
    if first:
        return one_line(getattr(first[0], "health_check_failure"))  # noqa: B009 - Ray's own
    return one_line(getattr(error, "controller_failure", error))


def _make_trainer(
    arguments: dict[str, Any], workers: Workers, env: dict[str, Any], storage: str
) -> Any:
    """Make Ray Train's trainer of a job."""
    import ray.train.torch  # noqa: PLC0415

    train: Any = ray.train
    return train.torch.TorchTrainer(
        train_loop_per_worker,
        train_loop_config=arguments,
        torch_config=train.torch.TorchConfig(
            backend="cpu:gloo,cuda:nccl" if workers.gpus else "gloo",
            timeout_s=int(GROUP_TIMEOUT.total_seconds()),
        ),
        scaling_config=train.ScalingConfig(
            num_workers=workers.processes,
            use_gpu=bool(workers.gpus),
            resources_per_worker=workers.bundle(),
            label_selector=workers.ray.placement or None,
        ),
        run_config=train.RunConfig(
            name=uuid.uuid4().hex[:8],
            storage_path=storage,
            worker_runtime_env=env,
            # `run_in_group` retries, also if Ray Train's controller has failed.
            failure_config=train.FailureConfig(controller_failure_limit=0),
        ),
    )


def train_loop_per_worker(arguments: dict[str, Any]) -> None:
    """Run one process of Ray Train's process group, with the arguments of `run_in_group`."""
    import torch  # noqa: PLC0415
    from ray.train.torch import get_device  # noqa: PLC0415

    job: LongJob = arguments["job"]
    mailbox = arguments["mailbox"]
    threading.Thread(target=_wait_for_stop, args=(mailbox,), daemon=True).start()
    try:
        os.chdir(arguments["cwd"])
        if arguments["gpus"]:
            # Each process sees the GPUs of all processes on its node.
            torch.cuda.set_device(get_device())
        job.run_rank()
    except KeyboardInterrupt:
        return  # by `_wait_for_stop`; the checkpoint is written
    except Exception as error:
        # If another process has died, Ray Train destroys the group, whose count is 1 from then on.
        if not isinstance(error, ProcessLostError) and Processes.current().count > 1:
            ray.get(mailbox.report_failure.remote(job.name, format_error(error)))
        # Ray Train then ends the other processes, which wait for this one.
        raise


def _wait_for_stop(mailbox: Any) -> None:
    """Pass a stop request on to this process: Ray Train's threads receive no signals."""
    while not ray.get(mailbox.is_stop_requested.remote()):
        time.sleep(POLL_SECONDS)
    request_stop()
