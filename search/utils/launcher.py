"""Processes of a launcher: torchrun, or a SLURM step (srun)."""

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

# First port for SLURM jobs, and the number of ports that they are spread over.
PORTS = 20_000
# The others wait while rank 0 evaluates. A process that dies closes its connections at once.
PATIENCE = timedelta(hours=2)


class SharedError(InputError):
    """An error that all processes raise; the main process reports it."""


class ProcessError(InputError):
    """An error of one process that the others do not know of."""


@dataclass(frozen=True)
class LauncherEnvironment:
    """A process's ranks and address, from its launcher.

    Args:
        rank: Rank of this process.
        count: World size.
        local: Local rank on the node, which chooses the GPU.
        address: Host and port of the rendezvous.
    """

    rank: int
    count: int
    local: int
    address: str

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> LauncherEnvironment | None:
        """Read the environment; None for a process without a launcher.

        Raises:
            InputError: The launcher's variables are incomplete.
        """
        host, port = environ.get("MASTER_ADDR"), environ.get("MASTER_PORT")
        if _number(environ, "WORLD_SIZE") > 1:
            keys = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
        elif _number(environ, "SLURM_STEP_NUM_TASKS") > 1:
            keys = ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID")
            host = host or first_host(environ.get("SLURM_STEP_NODELIST", ""))
            port = port or str(PORTS + _number(environ, "SLURM_JOB_ID") % PORTS)
        else:
            return None
        missing = [key for key in keys if not environ.get(key, "").isdigit()]
        if missing or not host or not port:
            raise InputError(
                f"{', '.join(missing) or 'MASTER_ADDR and MASTER_PORT'} not set: processes that "
                "train together are started by torchrun, or by srun"
            )
        rank, count, local = (int(environ[key]) for key in keys)
        return cls(rank, count, local, f"{host}:{port}")


def _number(environ: Mapping[str, str], key: str) -> int:
    """Read a count from the environment; 0 where it is not set."""
    text = environ.get(key, "")
    return int(text) if text.isdigit() else 0


def first_host(nodes: str) -> str:
    """Return the first of SLURM's list of nodes: `gpu07` of `gpu[07-09,12],login1`."""
    found = re.match(r"([^,\[]*)(?:\[([^\],-]+)[^\]]*\])?", nodes)
    return "" if found is None else found[1] + (found[2] or "")


@contextmanager
def process_group() -> Iterator[None]:
    """Join torch's process group with the launcher's other processes.

    Raises:
        ProcessError: An `InputError` of this process alone, with its rank.
    """
    launched = LauncherEnvironment.read(os.environ)
    if launched is None:
        yield
        return
    import torch  # noqa: PLC0415 - only here
    import torch.distributed as dist  # noqa: PLC0415

    cuda = torch.cuda.is_available()
    if cuda:
        # Modulo: a launcher may show each process only its own GPU.
        torch.cuda.set_device(launched.local % torch.cuda.device_count())
    # torchrun serves the port itself; elsewhere rank 0 does.
    served = "TORCHELASTIC_RUN_ID" in os.environ
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if cuda else "gloo",
        init_method="env://" if served else f"tcp://{launched.address}",
        rank=launched.rank,
        world_size=launched.count,
        timeout=PATIENCE,
    )
    try:
        yield
    except SharedError:
        raise
    except InputError as error:
        raise ProcessError(f"process {launched.rank} of {launched.count}: {error}") from None
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
    for rank, met in enumerate(processes.all_gather(message)):
        if met is not None:
            raise SharedError(met if rank == 0 else f"process {rank} of {processes.count}: {met}")
    return value  # type: ignore[return-value]


def run_on_main(action: Callable[[], T]) -> T:
    """Run an action in the main process; all get its result or its error.

    Raises:
        SharedError: The main process's error.
    """
    processes = _processes()
    value = run_on_all(lambda: action() if processes.is_main else None)
    return processes.broadcast(value)  # type: ignore[no-any-return]


def _processes() -> Any:
    from supernet.process_group import Processes  # noqa: PLC0415 - torch

    return Processes.current()


def is_main_process() -> bool:
    """Return whether this is the main process, or the only one."""
    try:
        launched = LauncherEnvironment.read(os.environ)
    except InputError:
        return True
    return launched is None or launched.rank == 0
