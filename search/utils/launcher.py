"""The process group of a launcher: torchrun, or a SLURM step (srun)."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from space.utils.errors import InputError

T = TypeVar("T")

# First port for SLURM jobs, and number of ports that they are spread over.
PORTS = 20_000
# Others wait while rank 0 evaluates. A process that dies closes its connections at once.
GROUP_TIMEOUT = timedelta(hours=2)


class SharedError(InputError):
    """An error raised in all processes and reported by the main process."""


class ProcessError(InputError):
    """An error raised in one process alone."""


@dataclass(frozen=True)
class LauncherEnvironment:
    """The ranks and the rendezvous of a process, from its launcher's environment variables.

    Args:
        rank: Rank of this process.
        world_size: Number of processes.
        local_rank: Rank on the node, which chooses the GPU.
        address: Host and port of the rendezvous.
    """

    rank: int
    world_size: int
    local_rank: int
    address: str

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> LauncherEnvironment | None:
        """Read the variables; return None for a process without a launcher.

        Raises:
            InputError: The launcher's variables are incomplete.
        """
        host, port = environ.get("MASTER_ADDR"), environ.get("MASTER_PORT")
        if _read_count(environ, "WORLD_SIZE") > 1:
            keys = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
        elif _read_count(environ, "SLURM_STEP_NUM_TASKS") > 1:
            keys = ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID")
            host = host or first_host(environ.get("SLURM_STEP_NODELIST", ""))
            port = port or str(PORTS + _read_count(environ, "SLURM_JOB_ID") % PORTS)
        else:
            return None
        missing = [key for key in keys if not environ.get(key, "").isdigit()]
        if missing or not host or not port:
            raise InputError(
                f"{', '.join(missing) or 'MASTER_ADDR and MASTER_PORT'} not set; launch processes "
                "that train together by torchrun or srun"
            )
        rank, world_size, local_rank = (int(environ[key]) for key in keys)
        return cls(rank, world_size, local_rank, f"{host}:{port}")


def _read_count(environ: Mapping[str, str], key: str) -> int:
    """Read a number from the environment; return 0 if it is not set."""
    text = environ.get(key, "")
    return int(text) if text.isdigit() else 0


def first_host(nodes: str) -> str:
    """Return the first node of SLURM's list of nodes: `gpu07` of `gpu[07-09,12],login1`."""
    match = re.match(r"([^,\[]*)(?:\[([^\],-]+)[^\]]*\])?", nodes)
    return "" if match is None else match[1] + (match[2] or "")


@contextmanager
def process_group() -> Iterator[None]:
    """Join torch's process group inside the context, if a launcher started this process.

    Raises:
        ProcessError: An `InputError` raised in this process alone, with its rank.
    """
    environment = LauncherEnvironment.read(os.environ)
    if environment is None:
        yield
        return
    import torch  # noqa: PLC0415 - slow to import
    import torch.distributed as dist  # noqa: PLC0415

    cuda = torch.cuda.is_available()
    if cuda:
        # Modulo: a launcher may show each process only its own GPU.
        torch.cuda.set_device(environment.local_rank % torch.cuda.device_count())
    # torchrun serves the port itself; otherwise rank 0 does.
    is_torchrun = "TORCHELASTIC_RUN_ID" in os.environ
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if cuda else "gloo",
        init_method="env://" if is_torchrun else f"tcp://{environment.address}",
        rank=environment.rank,
        world_size=environment.world_size,
        timeout=GROUP_TIMEOUT,
    )
    try:
        yield
    except SharedError:
        raise
    except InputError as error:
        rank, world_size = environment.rank, environment.world_size
        raise ProcessError(f"process {rank} of {world_size}: {error}") from None
    finally:
        dist.destroy_process_group()


def run_on_all(action: Callable[[], T]) -> T:
    """Run an action in every process; if any fails, all raise its error.

    Raises:
        SharedError: The error of the lowest rank that failed.
    """
    value: T | None = None
    message: str | None = None
    try:
        value = action()
    except InputError as error:
        message = str(error)
    processes = _processes()
    for rank, reason in enumerate(processes.all_gather(message)):
        if reason is not None:
            prefix = "" if rank == 0 else f"process {rank} of {processes.count}: "
            raise SharedError(f"{prefix}{reason}")
    return value  # type: ignore[return-value]


def run_on_main(action: Callable[[], T]) -> T:
    """Run an action in the main process; return its result, or raise its error, in all.

    Raises:
        SharedError: The main process's error.
    """
    processes = _processes()
    value = run_on_all(lambda: action() if processes.is_main else None)
    return processes.broadcast(value)  # type: ignore[no-any-return]


def _processes() -> Any:
    """Return torch's current process group."""
    from supernet.process_group import Processes  # noqa: PLC0415 - torch

    return Processes.current()


def is_main_process() -> bool:
    """Return whether this is the main process, or the only one."""
    try:
        environment = LauncherEnvironment.read(os.environ)
    except InputError:
        return True
    return environment is None or environment.rank == 0
