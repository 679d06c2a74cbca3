"""How far a search is, for whoever asks from another shell: a small file beside its results."""

from __future__ import annotations

import json
import math
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from search.utils.console import OPTIMISTIC, cell
from search.utils.units import duration
from space.utils.errors import InputError, printable
from space.utils.reader import Reader, open_json
from space.utils.yaml_file import write_text

if TYPE_CHECKING:
    # Optuna with it, for which whoever only asks does not wait.
    from search.study.session import OnProgress, Progress

NAME = "status.json"
# Of a search's progress.
SAID = ("done", "total", "failed", "rate", "objective", "workers", "leased", "ended")
EVERY_SECONDS = 2.0
# The driver of another host cannot be asked whether it lives; its file can be too old.
SILENT_SECONDS = 30.0
MOST = 1 << 62
# A pid of 0 or less would ask after groups of processes; a greater one the kernel does not have.
MOST_PID = (1 << 31) - 1
T = TypeVar("T")


@dataclass(frozen=True)
class Status:
    """What a search said of itself last.

    Args:
        pid, host: of its driver.
        time: when, in seconds of the epoch.
        done, total, failed: evaluations.
        rate: of them in a second.
        objective: name of the first one that is measured; empty where none is.
        best: its best value; None before there is one.
        workers: processes that evaluate and are alive; None without any, in the driver itself.
        leased: archs that they are evaluating.
        ended: why the search ended, in a sentence; None while it has not.
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
        """Whether its driver is alive, as far as can be seen from here."""
        if self.ended is not None:
            return False
        if self.host != socket.gethostname():
            # A clock that was set back must not let it live until the old time comes again.
            return abs(time.time() - self.time) < SILENT_SECONDS
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except OSError:
            return True
        return True


@contextmanager
def told(folder: Path | None, on_event: OnProgress) -> Iterator[OnProgress]:
    """`on_event`, which also keeps the status in the folder, every few seconds and at the end."""
    if folder is None:
        yield on_event
        return
    telling = _Telling(folder, on_event)
    try:
        yield telling
    except InputError as error:
        telling.end(str(error))
        raise
    finally:
        telling.end()


class _Telling:
    def __init__(
        self, folder: Path, on_event: OnProgress, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._folder = folder
        self._on_event = on_event
        self._clock = clock
        self._next = 0.0
        self._last: Progress | None = None
        self._unwritten: Progress | None = None

    def __call__(self, progress: Progress) -> None:
        now = self._clock()
        self._last = self._unwritten = progress
        if now >= self._next or progress.ended is not None:
            self._next = now + EVERY_SECONDS
            write_status(self._folder, progress)
            self._unwritten = None
        self._on_event(progress)

    def end(self, why: str | None = None) -> None:
        """Write what was told last, where that is still to be done and can be.

        Args:
            why: The search has ended by itself, for this reason.
        """
        if self._last is not None and why is not None:
            self._unwritten = replace(self._last, ended=why)
        if self._unwritten is not None:
            with suppress(InputError):
                write_status(self._folder, self._unwritten)


def write_status(folder: Path, progress: Progress) -> None:
    """Write what a search is at into its folder."""
    said = {name: getattr(progress, name) for name in SAID}
    status = Status(
        os.getpid(), socket.gethostname(), time.time(), best=progress.best_value, **said
    )
    write_text(folder / NAME, json.dumps(asdict(status)) + "\n")


def read_status(folder: Path) -> Status:
    """Read what a search said last.

    Raises:
        InputError: it has said nothing, or the file is not one of these.
    """
    path = folder / NAME
    if not path.exists():
        raise InputError(f"{path}: not there: no search has begun in this folder")
    given = open_json(path).mapping(
        *("pid", "host", "time", "done", "total", "failed", "rate", "objective", "leased"),
        # Earlier versions said the last two.
        **dict.fromkeys(("best", "workers", "ended", "forward", "of_alone")),
    )

    def known(name: str, read: Callable[[Reader], T]) -> T | None:
        return None if given[name].value is None else read(given[name])

    return Status(
        pid=given["pid"].integer(least=1, most=MOST_PID),
        host=given["host"].text(),
        time=given["time"].number(),
        done=given["done"].integer(most=MOST),
        total=given["total"].integer(least=1, most=MOST),
        failed=given["failed"].integer(most=MOST),
        rate=given["rate"].number(),
        objective=given["objective"].text(),
        best=known("best", lambda each: each.number(least=-math.inf)),
        workers=known("workers", lambda each: each.integer(most=MOST)),
        leased=given["leased"].integer(most=MOST),
        ended=known("ended", Reader.text),
    )


def described(status: Status) -> str:
    """A status in a line or two, for people."""
    state = "ended" if status.ended else "running" if status.running else "not running"
    where = f"process {status.pid} on {status.host}"
    percent = status.done / status.total
    lines = [
        f"{state} ({where}): {status.done:,} of {status.total:,} evaluations ({percent:.0%}), "
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
        left = status.total - status.done
        if status.rate > 0:
            lines.append(f"about {duration(left / status.rate)} left")
    else:
        lines.append("the same command goes on from here")
    return "\n".join(map(printable, lines))
