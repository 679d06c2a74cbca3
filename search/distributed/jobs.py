"""Jobs side by side: a Ray task for each, which Ray starts again when it dies."""

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
from search.distributed.connect import connected, here, on, places_on, room, with_places
from search.distributed.environment import silent_stderr
from search.distributed.ray_api import ray
from search.distributed.train_group import RETRIES, GroupJob, Notices, run_in_group
from search.utils.resources import Workers
from space.utils.errors import InputError
from supernet.progress import progress_bar

POLL_SECONDS = 1.0
# For checkpoints, after Ctrl-C.
LEAVE_SECONDS = 6.0


@dataclass(frozen=True)
class Job:
    """Something long that other processes do; all but `note` and `progress` is sent to them.

    Args:
        name: What it is called.
        run: Does it in one process; gives why it could not be done, if so.
        run_share: Does a process's share of it, where several do it together through torch's
            process group; raises why it cannot be done.
        note: Keeps why Ray could not do it.
        progress: How much of it is done, of `total`.
        total: How much there is to do.
    """

    name: str
    run: Callable[[], str | None]
    run_share: Callable[[], None]
    note: Callable[[str], None]
    progress: Callable[[], int]
    total: int


def run_jobs(
    jobs: Sequence[Job],
    workers: Workers,
    console: Console,
    folder: Path,
    check: Callable[[], str | None],
) -> dict[str, str | None]:
    """Do jobs in processes of their own, at most `workers.count` at a time.

    Args:
        jobs: What is to be done.
        workers: How many at a time, and what each takes.
        console: Where progress is shown.
        folder: The folder that every node must reach.
        check: Asked on every node of a cluster: what else is missing there, if anything.

    Returns:
        Why each could not be done, by name; None for those that are.

    Raises:
        InputError: Ray cannot be joined, or a node does not reach the folder or lacks something.
        KeyboardInterrupt: The jobs were told to leave checkpoints.
    """
    found: dict[str, str | None] = {}
    waiting, running = list(jobs), dict[Any, Job]()
    with connected(workers) as own:
        wanted = min(workers.count, len(jobs))
        workers, gpus = with_places(replace(workers, count=wanted), own)
        if not own:
            _check_nodes(workers, workers.bundle(gpus), folder, check)
        if not own or workers.count < wanted:
            line = room(workers, gpus, wanted)
            console.print(line, soft_wrap=True, highlight=False, markup=False)
        tasks = _Tasks(workers, gpus)
        with _shown(jobs, console) as tell:
            try:
                while waiting or running:
                    while waiting and len(running) < workers.count:
                        job = waiting.pop(0)
                        running[tasks.start(job)] = job
                    done, _ = ray.wait([*running], timeout=POLL_SECONDS)
                    for ref in done:
                        job = running.pop(ref)
                        found[job.name] = _result(ref, job)
                    tell(found)
            except KeyboardInterrupt:
                with silent_stderr():
                    tasks.stop([*running])
                    ray.wait([*running], num_returns=len(running), timeout=LEAVE_SECONDS)
                raise
    return found


def run_there(folder: str, run: Callable[[], str | None]) -> str | None:
    """One Ray task: does a job from where the driver stands; gives why not, if so."""
    try:
        os.chdir(folder)
    except OSError as error:
        return f"{folder}: cannot be reached: {error.strerror}"
    return run()


def reached(folder: str, probe: str, check: Callable[[], str | None]) -> str | None:
    """Whether a node reaches what jobs read and write; gives what it does not."""
    try:
        os.chdir(folder)
        Path(probe).with_suffix(f".{uuid.uuid4().hex[:8]}").touch()
    except OSError:
        return f"cannot write {Path(folder, probe).parent}"
    if not Path(probe).exists():
        return f"has another folder {Path(folder, probe).parent}, not the run's"
    return check()


class _Tasks:
    """Starts a Ray task for each job: it does it, or has several processes do so."""

    def __init__(self, workers: Workers, gpus: float) -> None:
        self._workers, self._gpus = workers, gpus
        make: Any = ray.runtime_env.RuntimeEnv
        # Files that it names are read here, where the command stands.
        self._env: dict[str, Any] = make(**workers.ray.runtime_env).to_dict()
        if not gpus:
            # Those of the node are others'.
            hidden = {"CUDA_VISIBLE_DEVICES": "", **self._env.get("env_vars", {})}
            self._env["env_vars"] = hidden
        self._remote: Any = ray.remote
        self._notices: Any = None
        if workers.processes > 1:
            self._notices = self._remote(Notices).options(**here()).remote()

    def start(self, job: Job) -> Any:
        """The reference to why a job could not be done, if so."""
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
        task = self._remote(run_there).options(**options, runtime_env=self._env)
        return task.remote(folder, job.run)

    def stop(self, running: list[Any]) -> None:
        """Ask tasks to leave checkpoints and end."""
        if self._notices is not None:
            self._notices.stop.remote()
            return
        for ref in running:
            # Ray raises one or the other where a task has just ended.
            with suppress(TypeError, ray.exceptions.RayError):
                ray.cancel(ref)


def _check_nodes(
    workers: Workers,
    bundle: Mapping[str, float],
    folder: Path,
    check: Callable[[], str | None],
) -> None:
    """Ask every node that could be given work for the folder and for what else it needs.

    Raises:
        InputError: naming the nodes that do not reach them, and what.
    """
    remote: Any = ray.remote
    probe = folder / f".probe-{uuid.uuid4().hex[:8]}"
    there: Any = ray.nodes
    nodes = [node for node in there() if places_on(node, workers, bundle)]
    probe.touch()
    try:
        asked = {
            node["NodeManagerAddress"]: remote(reached)
            .options(num_cpus=0, runtime_env=dict(workers.ray.runtime_env), **on(node["NodeID"]))
            .remote(str(Path.cwd()), str(probe), check)
            for node in nodes
        }
        said = {address: _said(ref) for address, ref in asked.items()}
    finally:
        for path in probe.parent.glob(f"{probe.name}*"):
            path.unlink()
    reasons = [f"node {address}: {reason}" for address, reason in said.items() if reason]
    if reasons:
        raise InputError(
            f"retrain.workers: {'; '.join(reasons)}; the run's folder and the data must be there "
            "on every node"
        )


def _result(ref: Any, job: Job) -> str | None:
    """Why a job could not be done, if so."""
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


def _said(ref: Any) -> str | None:
    """What a node says, or why it says nothing."""
    try:
        found: str | None = ray.get(ref)
    except ray.exceptions.RayError as error:
        return cause_of(error)
    return found


@contextmanager
def _shown(jobs: Sequence[Job], console: Console) -> Iterator[Any]:
    """A bar for each job; a line where it ends."""
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
