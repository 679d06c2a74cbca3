"""Processes that a launcher started together: torchrun's, or those of a SLURM step (srun)."""

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

PORTS = 20_000
# The others wait while the first process judges. Where one dies, its connections say so at once.
PATIENCE = timedelta(hours=2)


class SharedError(InputError):
    """An error that all processes raise, of which the first one speaks."""


class OwnError(InputError):
    """An error that the other processes do not know of."""


@dataclass(frozen=True)
class Launched:
    """What a launcher tells each of its processes.

    Args:
        rank: of this process, of `count`.
        count: of all processes.
        local: of this process among those of its node: which GPU is its own.
        address: host and port where they meet.
    """

    rank: int
    count: int
    local: int
    address: str

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> Launched | None:
        """From the environment; None for a process that was started alone.

        Raises:
            InputError: the environment is that of a launcher, but not whole.
        """
        if _number(environ, "WORLD_SIZE") > 1:
            keys = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
            host, port = environ.get("MASTER_ADDR", ""), environ.get("MASTER_PORT", "")
        elif _number(environ, "SLURM_STEP_NUM_TASKS") > 1:
            keys = ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID")
            host = environ.get("MASTER_ADDR") or first_host(environ.get("SLURM_STEP_NODELIST", ""))
            port = environ.get("MASTER_PORT", "")
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
    """A count that a launcher set; 0 where it set none."""
    text = environ.get(key, "")
    return int(text) if text.isdigit() else 0


def first_host(nodes: str) -> str:
    """The first of SLURM's list of nodes: `gpu07` of `gpu[07-09,12],login1`."""
    found = re.match(r"([^,\[]*)(?:\[([^\],-]+)[^\]]*\])?", nodes)
    return "" if found is None else found[1] + (found[2] or "")


@contextmanager
def joined() -> Iterator[None]:
    """Torch's process group of the processes that were launched together, for a while.

    Raises:
        OwnError: what this process alone has met, with its rank.
    """
    launched = Launched.read(os.environ)
    if launched is None:
        yield
        return
    import torch  # noqa: PLC0415 - only here
    import torch.distributed as dist  # noqa: PLC0415

    cuda = torch.cuda.is_available()
    if cuda:
        # Where the launcher shows each process its own GPU alone, that is its first.
        torch.cuda.set_device(launched.local % torch.cuda.device_count())
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if cuda else "gloo",
        # torchrun holds the port itself; elsewhere the first process opens it.
        init_method="env://"
        if "TORCHELASTIC_RUN_ID" in os.environ
        else f"tcp://{launched.address}",
        rank=launched.rank,
        world_size=launched.count,
        timeout=PATIENCE,
    )
    try:
        yield
    except SharedError:
        raise
    except InputError as error:
        raise OwnError(f"process {launched.rank} of {launched.count}: {error}") from None
    finally:
        dist.destroy_process_group()


def all_do(action: Callable[[], T]) -> T:
    """Do something in every process; where one meets an error, all raise it.

    Raises:
        SharedError: of the first process that met one, with its rank.
    """
    value, message = _tried(action)
    processes = _processes()
    for rank, met in enumerate(processes.told_by_all(message)):
        if met is not None:
            raise SharedError(met if rank == 0 else f"process {rank} of {processes.count}: {met}")
    return value  # type: ignore[return-value]


def first_does(action: Callable[[], T]) -> T:
    """Do something in the first process alone; all get what it returns, or its error.

    Raises:
        SharedError: as the first process met it.
    """
    processes = _processes()
    value, message = processes.told(_tried(action) if processes.first else None)
    if message is not None:
        raise SharedError(message)
    return value  # type: ignore[no-any-return]


def _tried(action: Callable[[], T]) -> tuple[T | None, str | None]:
    """What an action returns, or the error that it meets."""
    try:
        return action(), None
    except InputError as error:
        return None, str(error)


def _processes() -> Any:
    from supernet.process_group import Processes  # noqa: PLC0415 - torch

    return Processes.current()


def leads() -> bool:
    """Whether this process is alone or the first, which speaks for all."""
    try:
        launched = Launched.read(os.environ)
    except InputError:
        return True
    return launched is None or launched.rank == 0
