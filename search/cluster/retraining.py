"""Retraining networks side by side: a Ray task for each, which Ray starts again when it dies."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
from rich.console import Console
from rich.markup import escape

from search.cluster.calling import cause_of
from search.cluster.connecting import connected, here, on, places_on, room, with_places
from search.cluster.together import RETRIES, Notices, Share, retrain_together
from search.config import Config
from search.environment import silent_stderr
from search.folder import RunFolder
from search.stages.choosing import Choice
from search.stages.places import note_failure
from search.stages.retraining import retrain_one
from search.workers import Workers
from space.utils.errors import InputError
from supernet.data.sources import open_sources
from supernet.progress import progress_bar

POLL_SECONDS = 1.0
# For checkpoints, after Ctrl-C.
LEAVE_SECONDS = 6.0

Places = Mapping[Choice, Path]


def retrain_side_by_side(
    config: Config, file: Path | None, places: Places, workers: Workers, console: Console
) -> dict[str, str | None]:
    """Retrain choices in processes of their own, at most `workers.count` at a time.

    Returns:
        Why each could not be retrained, by name; None for those that are.

    Raises:
        InputError: Ray cannot be joined, or a node does not reach the run's folder or the data.
        KeyboardInterrupt: checkpoints are written.
    """
    found: dict[str, str | None] = {}
    waiting, running = list(places), dict[Any, Choice]()
    with connected(workers) as own:
        wanted = min(workers.count, len(places))
        workers, gpus = with_places(replace(workers, count=wanted), own)
        if not own:
            _check_nodes(config, file, workers, workers.bundle(gpus))
        if not own or workers.count < wanted:
            line = room(workers, gpus, wanted)
            console.print(line, soft_wrap=True, highlight=False, markup=False)
        tasks = _Tasks(config, file, workers, gpus)
        with _shown(places, config.retrain.epochs, console) as tell:
            try:
                while waiting or running:
                    while waiting and len(running) < workers.count:
                        choice = waiting.pop(0)
                        running[tasks.start(choice, places[choice])] = choice
                    done, _ = ray.wait([*running], timeout=POLL_SECONDS)
                    for ref in done:
                        choice = running.pop(ref)
                        found[choice.name] = _result(ref, places[choice])
                    tell(found)
            except KeyboardInterrupt:
                with silent_stderr():
                    tasks.stop([*running])
                    ray.wait([*running], num_returns=len(running), timeout=LEAVE_SECONDS)
                raise
    return found


def retrain_there(
    folder: str, config: Config, file: Path | None, choice: Choice, place: Path
) -> str | None:
    """One Ray task: retrains a choice from where the driver stands; gives why not, if so."""
    try:
        os.chdir(folder)
    except OSError as error:
        return f"{folder}: cannot be reached: {error.strerror}"
    return retrain_one(config, file, choice, place)


def reached(folder: str, probe: str, config: Config) -> str | None:
    """Whether a node reaches what retraining reads and writes; gives what it does not."""
    try:
        os.chdir(folder)
        Path(probe).with_suffix(f".{uuid.uuid4().hex[:8]}").touch()
    except OSError:
        return f"cannot write {Path(folder, probe).parent}"
    if not Path(probe).exists():
        return f"has another folder {Path(folder, probe).parent}, not the run's"
    checkpoint = config.backbone.checkpoint
    if checkpoint is not None and not Path(checkpoint).exists():
        return f"backbone.checkpoint: {checkpoint} is not there"
    try:
        open_sources(config.data.dataset)
    except InputError as error:
        return str(error)
    return None


class _Tasks:
    """Starts a Ray task for each network: it trains it, or has several processes do so."""

    def __init__(self, config: Config, file: Path | None, workers: Workers, gpus: float) -> None:
        self._config, self._file, self._workers, self._gpus = config, file, workers, gpus
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

    def start(self, choice: Choice, place: Path) -> Any:
        """The reference to why a choice could not be retrained, if so."""
        given = str(Path.cwd()), self._config, self._file, choice, place
        workers = self._workers
        if self._notices is not None:
            share = Share(*given, notices=self._notices, gpus=self._gpus)
            task = self._remote(retrain_together).options(**here(), max_retries=RETRIES)
            return task.remote(share, workers, self._env)
        options: dict[str, Any] = {
            "num_cpus": workers.cpus,
            "num_gpus": self._gpus,
            "resources": dict(workers.ray.resources),
            "max_retries": RETRIES,
            "retry_exceptions": False,
        }
        if workers.ray.placement:
            options["label_selector"] = dict(workers.ray.placement)
        task = self._remote(retrain_there).options(**options, runtime_env=self._env)
        return task.remote(*given)

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
    config: Config, file: Path | None, workers: Workers, bundle: Mapping[str, float]
) -> None:
    """Ask every node that could be given work for the data and the run's folder.

    Raises:
        InputError: naming the nodes that do not reach them, and what.
    """
    remote: Any = ray.remote
    probe = RunFolder(config, file).path / f".probe-{uuid.uuid4().hex[:8]}"
    there: Any = ray.nodes
    nodes = [node for node in there() if places_on(node, workers, bundle)]
    probe.touch()
    try:
        asked = {
            node["NodeManagerAddress"]: remote(reached)
            .options(num_cpus=0, runtime_env=dict(workers.ray.runtime_env), **on(node["NodeID"]))
            .remote(str(Path.cwd()), str(probe), config)
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


def _result(ref: Any, place: Path) -> str | None:
    """Why a choice could not be retrained, if so; its folder says it too."""
    try:
        found: str | None = ray.get(ref)
    except ray.exceptions.RayTaskError as error:
        found = cause_of(error)
    except ray.exceptions.RayError as error:
        found = f"its process died {RETRIES + 1} times: {cause_of(error)}"
    else:
        return found
    note_failure(place, found)
    return found


def _said(ref: Any) -> str | None:
    """What a node says, or why it says nothing."""
    try:
        found: str | None = ray.get(ref)
    except ray.exceptions.RayError as error:
        return cause_of(error)
    return found


def _epochs(place: Path) -> int:
    """How many epochs a training has logged."""
    log = place / "log.jsonl"
    return log.read_bytes().count(b"\n") if log.exists() else 0


@contextmanager
def _shown(places: Places, epochs: int, console: Console) -> Iterator[Any]:
    """A bar for each network, by the epochs that its log has; a line where it ends."""
    with progress_bar(console, elapsed=True) as bars:
        tasks = {
            choice: bars.add_task(f"retrain {escape(choice.name)}", total=epochs, state="epochs")
            for choice in places
        }
        told: set[str] = set()

        def tell(found: Mapping[str, str | None]) -> None:
            for choice, task in tasks.items():
                if console.is_terminal:
                    bars.update(task, completed=_epochs(places[choice]))
                if choice.name in found and choice.name not in told:
                    told.add(choice.name)
                    what = "failed" if found[choice.name] else "done"
                    line = f"retrain {choice.name}: {what}, {len(told)} of {len(places)}"
                    console.print(line, soft_wrap=True, highlight=False, markup=False)

        yield tell
