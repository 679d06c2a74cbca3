"""Long jobs in parallel: one Ray task each, which Ray retries when its process dies."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from search.distributed.calling import cause_of
from search.distributed.connect import (
    connected,
    count_fitting_workers,
    describe_placement,
    fit_workers,
    here,
    on,
)
from search.distributed.environment import silent_stderr
from search.distributed.ray_api import ray
from search.distributed.train_group import RETRIES, GroupJob, Notices, run_in_group
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
        KeyboardInterrupt: Ctrl-C; the jobs were refs to write checkpoints.
    """
    found: dict[str, str | None] = {}
    waiting, running = list(jobs), dict[Any, LongJob]()
    with connected(workers) as own:
        wanted = min(workers.count, len(jobs))
        workers, gpus = fit_workers(replace(workers, count=wanted), own)
        if not own:
            _check_nodes(workers, workers.bundle(gpus), folder, check)
        if not own or workers.count < wanted:
            line = describe_placement(workers, gpus, wanted)
            console.print(line, soft_wrap=True, highlight=False, markup=False)
        tasks = _Tasks(workers, gpus)
        with _show_progress(jobs, console) as tell:
            try:
                while waiting or running:
                    while waiting and len(running) < workers.count:
                        job = waiting.pop(0)
                        running[tasks.start(job)] = job
                    done, _ = ray.wait([*running], timeout=POLL_SECONDS)
                    for ref in done:
                        job = running.pop(ref)
                        found[job.name] = _wait_for_failure(ref, job)
                    tell(found)
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


def check_node(folder: str, probe: str, check: Callable[[], str | None]) -> str | None:
    """Return why this node cannot run jobs: folder or data are out of reach; None if it can."""
    try:
        os.chdir(folder)
        Path(probe).with_suffix(f".{uuid.uuid4().hex[:8]}").touch()
    except OSError:
        return f"cannot write {Path(folder, probe).parent}"
    if not Path(probe).exists():
        return f"has another folder {Path(folder, probe).parent}, not the run's"
    return check()


class _Tasks:
    """Starts a Ray task for each job, which runs it or starts a process group for it."""

    def __init__(self, workers: Workers, gpus: float) -> None:
        self._workers, self._gpus = workers, gpus
        make: Any = ray.runtime_env.RuntimeEnv
        # Relative paths in it are resolved here, in the command's working directory.
        self._env: dict[str, Any] = make(**workers.ray.runtime_env).to_dict()
        if not gpus:
            # Tasks that asked for no GPU would see all GPUs of the node.
            hidden = {"CUDA_VISIBLE_DEVICES": "", **self._env.get("env_vars", {})}
            self._env["env_vars"] = hidden
        self._remote: Any = ray.remote
        self._notices: Any = None
        if workers.processes > 1:
            self._notices = self._remote(Notices).options(**here()).remote()

    def start(self, job: LongJob) -> Any:
        """Start a job; return the reference to the reason for its failure, or to None."""
        folder, workers = str(Path.cwd()), self._workers
        if self._notices is not None:
            group = GroupJob(folder, job.name, job.run_share, job.note, self._notices, self._gpus)
            task = self._remote(run_in_group).options(**here(), max_retries=RETRIES)
            return task.remote(group, workers, self._env)
        options: dict[str, Any] = {
            "num_cpus": workers.cpus,
            "num_gpus": self._gpus,
            "resources": dict(workers.ray.resources),
            "max_retries": RETRIES,
            "retry_exceptions": False,
        }
        if workers.ray.placement:
            options["label_selector"] = dict(workers.ray.placement)
        task = self._remote(run_in_folder).options(**options, runtime_env=self._env)
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


def _check_nodes(
    workers: Workers,
    bundle: Mapping[str, float],
    folder: Path,
    check: Callable[[], str | None],
) -> None:
    """Check that every node with room for a worker reaches the folder and passes `check`.

    Raises:
        InputError: Some nodes do not; it names them and what they lack.
    """
    remote: Any = ray.remote
    probe = folder / f".probe-{uuid.uuid4().hex[:8]}"
    list_nodes: Any = ray.nodes
    nodes = [node for node in list_nodes() if count_fitting_workers(node, workers, bundle)]
    probe.touch()
    try:
        refs = {
            node["NodeManagerAddress"]: remote(check_node)
            .options(num_cpus=0, runtime_env=dict(workers.ray.runtime_env), **on(node["NodeID"]))
            .remote(str(Path.cwd()), str(probe), check)
            for node in nodes
        }
        answers = {address: _get_answer(ref) for address, ref in refs.items()}
    finally:
        for path in probe.parent.glob(f"{probe.name}*"):
            path.unlink()
    reasons = [f"node {address}: {reason}" for address, reason in answers.items() if reason]
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


def _get_answer(ref: Any) -> str | None:
    """Return a node's answer, or why it did not answer."""
    try:
        found: str | None = ray.get(ref)
    except ray.exceptions.RayError as error:
        return cause_of(error)
    return found


@contextmanager
def _show_progress(jobs: Sequence[LongJob], console: Console) -> Iterator[Any]:
    """Show a progress bar for each job, and a line when it ends."""
    with progress_bar(console, elapsed=True) as bars:
        tasks = {
            job.name: bars.add_task(f"retrain {escape(job.name)}", total=job.total, state="epochs")
            for job in jobs
        }
        told: set[str] = set()

        def tell(found: Mapping[str, str | None]) -> None:
            for job in jobs:
                if console.is_terminal:
                    bars.update(tasks[job.name], completed=job.progress())
                if job.name in found and job.name not in told:
                    told.add(job.name)
                    what = "failed" if found[job.name] else "done"
                    line = f"retrain {job.name}: {what}, {len(told)} of {len(jobs)}"
                    console.print(line, soft_wrap=True, highlight=False, markup=False)

        yield tell
