"""The status of a search: a small file beside its results, to read from another shell."""

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
    # Imports Optuna, which is slow to load and not needed to read a status.
    from search.study.session import OnProgress, Progress

NAME = "status.json"
# Fields taken from `Progress`.
SAID = ("done", "total", "failed", "rate", "objective", "workers", "leased", "ended")
EVERY_SECONDS = 2.0
# On another host the driver's process cannot be checked, only the age of its file.
SILENT_SECONDS = 30.0
MOST = 1 << 62
# A PID of 0 or less would signal process groups; a greater one the kernel does not have.
MOST_PID = (1 << 31) - 1
T = TypeVar("T")


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
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except OSError:
            return True
        return True


@contextmanager
def told(folder: Path | None, on_event: OnProgress) -> Iterator[OnProgress]:
    """Wrap `on_event` to write the status file too, every few seconds and at the end."""
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
        """Write the last progress that is not written yet, if it can be.

        Args:
            why: Reason for which the search ended by itself.
        """
        if self._last is not None and why is not None:
            self._unwritten = replace(self._last, ended=why)
        if self._unwritten is not None:
            with suppress(InputError):
                write_status(self._folder, self._unwritten)


def write_status(folder: Path, progress: Progress) -> None:
    """Write the status of a search into its folder."""
    said = {name: getattr(progress, name) for name in SAID}
    status = Status(
        os.getpid(), socket.gethostname(), time.time(), best=progress.best_value, **said
    )
    write_text(folder / NAME, json.dumps(asdict(status)) + "\n")


def read_status(folder: Path) -> Status:
    """Read the status of a search.

    Raises:
        InputError: There is no status, or the file is invalid.
    """
    path = folder / NAME
    if not path.exists():
        raise InputError(f"{path}: not there: no search has begun in this folder")
    given = open_json(path).mapping(
        *("pid", "host", "time", "done", "total", "failed", "rate", "objective", "leased"),
        # Earlier versions wrote the last two.
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
    """Format a status for people, in a few lines."""
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
