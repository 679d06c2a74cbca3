"""Runs long jobs in parallel: one Ray task each, which Ray retries when its process dies."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from search.distributed.connect import (
    connected,
    count_fitting_processes,
    describe_placement,
    fit_workers,
    pin_to_node,
    pin_to_this_node,
)
from search.distributed.ray_api import describe_cause, ray, silence_stderr
from search.distributed.train_group import RETRIES, Mailbox, run_in_group
from search.utils.console import print_line
from search.utils.resources import Workers
from space.utils.errors import InputError
from supernet.progress import progress_bar

POLL_SECONDS = 1.0
# Time for tasks to write checkpoints after Ctrl-C.
CHECKPOINT_SECONDS = 6.0


@dataclass(frozen=True)
class LongJob:
    """A long job for other processes; `progress` is called in the main process.

    Args:
        name: Name of the job.
        run: Runs the job in one process; returns the reason for a failure, or None.
        run_rank: Runs one rank of torch's process group; raises on failure.
        store_failure: Stores the reason for a failure that Ray reported.
        progress: Returns the number of finished steps.
        total: Number of steps.
    """

    name: str
    run: Callable[[], str | None]
    run_rank: Callable[[], None]
    store_failure: Callable[[str], None]
    progress: Callable[[], int]
    total: int


def run_jobs(
    jobs: Sequence[LongJob],
    workers: Workers,
    console: Console,
    folder: Path,
    check: Callable[[], str | None],
) -> dict[str, str | None]:
    """Run jobs in other processes, at most `workers.count` at a time.

    Args:
        jobs: The jobs.
        workers: Number of workers, and the resources of each.
        console: Console for progress.
        folder: Folder that every node must be able to write.
        check: Checks a node of a cluster, on that node; returns the reason for a failure, or None.

    Returns:
        The reason for each job's failure by its name; None for jobs that are done.

    Raises:
        InputError: Ray cannot be joined, or a node cannot write the folder or fails `check`.
        KeyboardInterrupt: Ctrl-C; the jobs were asked to write checkpoints.
    """
    with connected(workers) as own_ray:
        requested = min(workers.count, len(jobs))
        workers = fit_workers(replace(workers, count=requested), own_ray)
        if not own_ray:
            _check_nodes(workers, folder, check)
        if not own_ray or workers.count < requested:
            print_line(console, describe_placement(workers, requested))
        return _run_tasks(jobs, _Tasks(workers), workers.count, console)


def _run_tasks(
    jobs: Sequence[LongJob], tasks: _Tasks, limit: int, console: Console
) -> dict[str, str | None]:
    """Run jobs, at most `limit` at a time, with a progress bar and a final line for each."""
    failures: dict[str, str | None] = {}
    waiting, running = list(jobs), dict[Any, LongJob]()
    with progress_bar(console, elapsed=True) as display:
        bars = [
            display.add_task(f"retrain {escape(job.name)}", total=job.total, state="epochs")
            for job in jobs
        ]
        try:
            while waiting or running:
                while waiting and len(running) < limit:
                    job = waiting.pop(0)
                    running[tasks.start(job)] = job
                done, _ = ray.wait([*running], timeout=POLL_SECONDS)
                for job, bar in zip(jobs, bars, strict=True):
                    display.update(bar, completed=job.progress())
                for ref in done:
                    job = running.pop(ref)
                    reason = failures[job.name] = _wait_for_failure(ref, job)
                    state = "failed" if reason else "done"
                    line = f"retrain {job.name}: {state}, {len(failures)} of {len(jobs)}"
                    print_line(console, line)
        except KeyboardInterrupt:
            with silence_stderr():
                tasks.stop([*running])
                ray.wait([*running], num_returns=len(running), timeout=CHECKPOINT_SECONDS)
            raise
    return failures


def run_in_folder(folder: str, run: Callable[[], str | None]) -> str | None:
    """Run a job in the driver's working directory; return the reason for a failure, or None."""
    try:
        os.chdir(folder)
    except OSError as error:
        return f"{folder}: cannot be reached: {error.strerror}"
    return run()


def check_node(probe: Path, check: Callable[[], str | None]) -> str | None:
    """Check that this node can write the folder and passes `check`; return the reason if not."""
    try:
        # Opened for writing but not created: another folder may have the same path here.
        probe.open("r+").close()
    except OSError as error:
        return f"cannot write {probe.parent}: {error.strerror}"
    return check()


class _Tasks:
    """Starts a Ray task for each job, which runs it or starts a process group for it."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        # Resolves relative paths, in the command's working directory.
        self._env = ray.runtime_env.RuntimeEnv(**workers.ray.runtime_env).to_dict()
        if not workers.gpus:
            # Tasks that request no GPU would see all GPUs of the node.
            variables = {"CUDA_VISIBLE_DEVICES": "", **self._env.get("env_vars", {})}
            self._env["env_vars"] = variables
        self._mailbox: Any = None
        if workers.processes > 1:
            self._mailbox = ray.remote(Mailbox).options(**pin_to_this_node()).remote()

    def start(self, job: LongJob) -> Any:
        """Start a job; return the reference to the reason for its failure, or to None."""
        working_dir, workers = str(Path.cwd()), self._workers
        if self._mailbox is not None:
            task = ray.remote(run_in_group).options(**pin_to_this_node(), max_retries=RETRIES)
            return task.remote(job, working_dir, workers, self._env, self._mailbox)
        task = ray.remote(run_in_folder).options(
            num_cpus=workers.cpus,
            num_gpus=workers.gpus,
            resources=workers.ray.resources,
            label_selector=workers.ray.placement or None,
            runtime_env=self._env,
            max_retries=RETRIES,
            retry_exceptions=False,
        )
        return task.remote(working_dir, job.run)

    def stop(self, running: list[Any]) -> None:
        """Ask tasks to write checkpoints and end."""
        if self._mailbox is not None:
            self._mailbox.stop.remote()
            return
        for ref in running:
            # Ray raises one of these for a task that has just ended.
            with suppress(TypeError, ray.exceptions.RayError):
                ray.cancel(ref)


def _check_nodes(workers: Workers, folder: Path, check: Callable[[], str | None]) -> None:
    """Check that every node that fits a worker can write the folder and passes `check`.

    Raises:
        InputError: Some nodes fail; the message names them and the reasons.
    """
    reasons = []
    probe = folder / f".probe-{uuid.uuid4().hex[:8]}"
    probe.touch()
    try:
        nodes = [node for node in ray.nodes() if count_fitting_processes(node, workers)]
        refs = [
            ray.remote(run_in_folder)
            .options(runtime_env=workers.ray.runtime_env, **pin_to_node(node["NodeID"]))
            .remote(str(Path.cwd()), partial(check_node, probe, check))
            for node in nodes
        ]
        for node, ref in zip(nodes, refs, strict=True):
            try:
                reason = ray.get(ref)
            except ray.exceptions.RayError as error:
                reason = describe_cause(error)
            if reason:
                reasons.append(f"node {node['NodeManagerAddress']}: {reason}")
    finally:
        probe.unlink()
    if reasons:
        raise InputError(
            f"retrain.workers: {'; '.join(reasons)}; every node must have the run's folder and "
            "the data at the same paths"
        )


def _wait_for_failure(ref: Any, job: LongJob) -> str | None:
    """Wait for a job's end; return the reason for its failure, or None."""
    try:
        reason: str | None = ray.get(ref)
    except ray.exceptions.RayTaskError as error:
        reason = describe_cause(error)
    except ray.exceptions.RayError as error:
        reason = f"its process died {RETRIES + 1} times: {describe_cause(error)}"
    else:
        return reason
    job.store_failure(reason)
    return reason
