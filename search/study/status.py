"""The status of a search: a small file beside its results, to read from another shell."""

from __future__ import annotations

import json
import math
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from search.utils.console import OPTIMISTIC, cell
from search.utils.file_lock import is_alive
from search.utils.units import duration
from space.utils.errors import InputError, printable
from space.utils.reader import open_json
from space.utils.yaml_file import write_text

if TYPE_CHECKING:
    # Imports Optuna, which is slow to load and not needed to read a status.
    from search.study.session import OnProgress, Progress

STATUS_FILE = "status.json"
# Fields copied from `Progress`.
PROGRESS_FIELDS = ("done", "total", "failed", "rate", "objective", "workers", "leased", "ended")
WRITE_SECONDS = 2.0
# On another host the driver's process cannot be checked, only the age of its file.
SILENT_SECONDS = 30.0
MAX_COUNT = 1 << 62
# A PID of 0 or less would signal process groups; a greater one the kernel does not have.
MAX_PID = (1 << 31) - 1


@dataclass(frozen=True)
class Status:
    """The last status that a search wrote.

    Args:
        pid, host: Process and host of the driver.
        time: Seconds since the epoch.
        done, total, failed: Numbers of evaluations.
        rate: Evaluations a second.
        objective: Name of the first measured objective; empty without one.
        best: Best value of the objective; None before there is one.
        workers: Number of live workers; None where the driver evaluates.
        leased: Number of archs that the workers are evaluating.
        ended: Reason why the search ended; None while it runs.
    """

    pid: int
    host: str
    time: float
    done: int
    total: int
    failed: int
    rate: float
    objective: str
    best: float | None
    workers: int | None
    leased: int
    ended: str | None

    @property
    def running(self) -> bool:
        """Whether the driver is alive, as far as this host can tell."""
        if self.ended is not None:
            return False
        if self.host != socket.gethostname():
            # `abs`: after a clock was set back, an old file must not count as new.
            return abs(time.time() - self.time) < SILENT_SECONDS
        return is_alive(self.pid)


@contextmanager
def reporting_status(folder: Path | None, on_event: OnProgress) -> Iterator[OnProgress]:
    """Wrap `on_event` to also write the status file, every few seconds and at the end."""
    if folder is None:
        yield on_event
        return
    last: Progress | None = None
    due = 0.0

    def write_and_call(progress: Progress) -> None:
        nonlocal last, due
        last = progress
        if time.monotonic() >= due or progress.ended is not None:
            due = time.monotonic() + WRITE_SECONDS
            write_status(folder, progress)
        on_event(progress)

    try:
        yield write_and_call
    except InputError as error:
        last = last and replace(last, ended=str(error))
        raise
    finally:
        if last is not None:
            with suppress(InputError):
                write_status(folder, last)


def write_status(folder: Path, progress: Progress) -> None:
    """Write the status of a search into its folder."""
    status = {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "time": time.time(),
        "best": progress.best_value,
        **{name: getattr(progress, name) for name in PROGRESS_FIELDS},
    }
    write_text(folder / STATUS_FILE, json.dumps(status) + "\n")


def read_status(folder: Path) -> Status:
    """Read the status of a search.

    Raises:
        InputError: There is no status, or the file is invalid.
    """
    path = folder / STATUS_FILE
    if not path.exists():
        raise InputError(f"{path}: there is no such file: no search has begun in this folder")
    values = open_json(path).mapping(
        *("pid", "host", "time", "done", "total", "failed", "rate", "objective", "leased"),
        # Earlier versions wrote the last two.
        **dict.fromkeys(("best", "workers", "ended", "forward", "of_alone")),
    )
    best, workers, ended = (values[name] for name in ("best", "workers", "ended"))
    return Status(
        pid=values["pid"].integer(least=1, most=MAX_PID),
        host=values["host"].text(),
        time=values["time"].number(),
        done=values["done"].integer(most=MAX_COUNT),
        total=values["total"].integer(least=1, most=MAX_COUNT),
        failed=values["failed"].integer(most=MAX_COUNT),
        rate=values["rate"].number(),
        objective=values["objective"].text(),
        best=None if best.value is None else best.number(least=-math.inf),
        workers=None if workers.value is None else workers.integer(most=MAX_COUNT),
        leased=values["leased"].integer(most=MAX_COUNT),
        ended=None if ended.value is None else ended.text(),
    )


def format_status(status: Status) -> str:
    """Format a status for people, in a few lines."""
    state = "ended" if status.ended else "running" if status.running else "not running"
    process = f"process {status.pid} on {status.host}"
    percent = status.done / status.total
    lines = [
        f"{state} ({process}): {status.done:,} of {status.total:,} evaluations ({percent:.0%}), "
        f"{status.failed:,} failed" + (f", {status.rate:.2f} a second" if status.rate else "")
    ]
    if status.best is not None:
        lines.append(f"best {status.objective}: {cell(status.objective, status.best)}")
        lines.append(OPTIMISTIC)
    elif not status.objective:
        lines.append("no objective is measured, so that none of the archs is the best")
    elif status.ended is not None:
        lines.append("the front is empty: no evaluation has succeeded inside the budget")
    if status.workers is not None and status.running:
        lines.append(f"workers alive: {status.workers}, archs being evaluated: {status.leased}")
    if status.ended is not None:
        lines.append(status.ended)
    elif status.running:
        remaining = status.total - status.done
        if status.rate > 0:
            lines.append(f"about {duration(remaining / status.rate)} left")
    else:
        lines.append("the same command goes on from here")
    return "\n".join(map(printable, lines))
