"""Long jobs in parallel: one Ray task each, which Ray retries when its process dies."""

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
    count_fitting_workers,
    describe_placement,
    fit_workers,
    here,
    on,
)
from search.distributed.ray_api import cause_of, ray, silent_stderr
from search.distributed.train_group import RETRIES, Notices, run_in_group
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
        run_share: Runs the share of one rank of torch's process group; raises on failure.
        note: Stores the reason for a failure that Ray reported.
        progress: Returns how many of `total` steps are done.
        total: Number of steps.
    """

    name: str
    run: Callable[[], str | None]
    run_share: Callable[[], None]
    note: Callable[[str], None]
    progress: Callable[[], int]
    total: int


def run_jobs(
    jobs: Sequence[LongJob],
    workers: Workers,
    console: Console,
    folder: Path,
    check: Callable[[], str | None],
) -> dict[str, str | None]:
    """Run jobs in processes of their own, at most `workers.count` at a time.

    Args:
        jobs: The jobs.
        workers: Number of workers, and the resources of each.
        console: Console for progress.
        folder: Folder that every node must reach.
        check: Returns what else a node lacks, or None; called on every node of a cluster.

    Returns:
        The reason for each job's failure by its name; None for jobs that are done.

    Raises:
        InputError: Ray cannot be joined, or a node lacks the folder or what `check` looks for.
        KeyboardInterrupt: Ctrl-C; the jobs were asked to write checkpoints.
    """
    with connected(workers) as own:
        wanted = min(workers.count, len(jobs))
        workers = fit_workers(replace(workers, count=wanted), own)
        if not own:
            _check_nodes(workers, folder, check)
        if not own or workers.count < wanted:
            print_line(console, describe_placement(workers, wanted))
        return _run_tasks(jobs, _Tasks(workers), workers.count, console)


def _run_tasks(
    jobs: Sequence[LongJob], tasks: _Tasks, most: int, console: Console
) -> dict[str, str | None]:
    """Run jobs, at most `most` at a time, with a progress bar each and a line when it ends."""
    found: dict[str, str | None] = {}
    waiting, running = list(jobs), dict[Any, LongJob]()
    with progress_bar(console, elapsed=True) as display:
        bars = [
            display.add_task(f"retrain {escape(job.name)}", total=job.total, state="epochs")
            for job in jobs
        ]
        try:
            while waiting or running:
                while waiting and len(running) < most:
                    job = waiting.pop(0)
                    running[tasks.start(job)] = job
                done, _ = ray.wait([*running], timeout=POLL_SECONDS)
                for job, bar in zip(jobs, bars, strict=True):
                    display.update(bar, completed=job.progress())
                for ref in done:
                    job = running.pop(ref)
                    reason = found[job.name] = _wait_for_failure(ref, job)
                    what = "failed" if reason else "done"
                    line = f"retrain {job.name}: {what}, {len(found)} of {len(jobs)}"
                    print_line(console, line)
        except KeyboardInterrupt:
            with silent_stderr():
                tasks.stop([*running])
                ray.wait([*running], num_returns=len(running), timeout=CHECKPOINT_SECONDS)
            raise
    return found


def run_in_folder(folder: str, run: Callable[[], str | None]) -> str | None:
    """Run a job in the driver's working directory; return the reason for a failure, or None."""
    try:
        os.chdir(folder)
    except OSError as error:
        return f"{folder}: cannot be reached: {error.strerror}"
    return run()


def check_node(probe: Path, check: Callable[[], str | None]) -> str | None:
    """Return why this node cannot run jobs: folder or data are out of reach; None if it can."""
    try:
        # Opened for writing, but not created: a folder of the same name may be another one.
        probe.open("r+").close()
    except OSError as error:
        return f"cannot write {probe.parent}: {error.strerror}"
    return check()


class _Tasks:
    """Starts a Ray task for each job, which runs it or starts a process group for it."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        # Relative paths in it are resolved here, in the command's working directory.
        self._env = ray.runtime_env.RuntimeEnv(**workers.ray.runtime_env).to_dict()
        if not workers.gpus:
            # Tasks that asked for no GPU would see all GPUs of the node.
            hidden = {"CUDA_VISIBLE_DEVICES": "", **self._env.get("env_vars", {})}
            self._env["env_vars"] = hidden
        self._notices: Any = None
        if workers.processes > 1:
            self._notices = ray.remote(Notices).options(**here()).remote()

    def start(self, job: LongJob) -> Any:
        """Start a job; return the reference to the reason for its failure, or to None."""
        folder, workers = str(Path.cwd()), self._workers
        if self._notices is not None:
            task = ray.remote(run_in_group).options(**here(), max_retries=RETRIES)
            return task.remote(job, folder, workers, self._env, self._notices)
        task = ray.remote(run_in_folder).options(
            num_cpus=workers.cpus,
            num_gpus=workers.gpus,
            resources=workers.ray.resources,
            label_selector=workers.ray.placement or None,
            runtime_env=self._env,
            max_retries=RETRIES,
            retry_exceptions=False,
        )
        return task.remote(folder, job.run)

    def stop(self, running: list[Any]) -> None:
        """Ask tasks to write checkpoints and end."""
        if self._notices is not None:
            self._notices.stop.remote()
            return
        for ref in running:
            # Ray raises either for a task that has just ended.
            with suppress(TypeError, ray.exceptions.RayError):
                ray.cancel(ref)


def _check_nodes(workers: Workers, folder: Path, check: Callable[[], str | None]) -> None:
    """Check that every node with room for a worker reaches the folder and passes `check`.

    Raises:
        InputError: Some nodes do not; it names them and what they lack.
    """
    reasons = []
    probe = folder / f".probe-{uuid.uuid4().hex[:8]}"
    probe.touch()
    try:
        nodes = [node for node in ray.nodes() if count_fitting_workers(node, workers)]
        refs = [
            ray.remote(run_in_folder)
            .options(num_cpus=0, runtime_env=workers.ray.runtime_env, **on(node["NodeID"]))
            .remote(str(Path.cwd()), partial(check_node, probe, check))
            for node in nodes
        ]
        for node, ref in zip(nodes, refs, strict=True):
            try:
                reason = ray.get(ref)
            except ray.exceptions.RayError as error:
                reason = cause_of(error)
            if reason:
                reasons.append(f"node {node['NodeManagerAddress']}: {reason}")
    finally:
        probe.unlink()
    if reasons:
        raise InputError(
            f"retrain.workers: {'; '.join(reasons)}; every node must see the run's folder and "
            "the data at the same paths"
        )


def _wait_for_failure(ref: Any, job: LongJob) -> str | None:
    """Return the reason for a job's failure, or None."""
    try:
        found: str | None = ray.get(ref)
    except ray.exceptions.RayTaskError as error:
        found = cause_of(error)
    except ray.exceptions.RayError as error:
        found = f"its process died {RETRIES + 1} times: {cause_of(error)}"
    else:
        return found
    job.note(found)
    return found
