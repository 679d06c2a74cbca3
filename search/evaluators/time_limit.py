"""The time limit of an evaluation."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Mapping
from contextlib import nullcontext
from types import FrameType

from search.problem.objectives import Evaluate
from space.arch import Arch
from space.utils.errors import InputError

MOST_SECONDS = 1e8
# Interval of further interruptions if the first was caught; enough for cleaning up after it.
AGAIN_SECONDS = 0.5


def check_limit(limit: float | None, name: str = "time_limit") -> None:
    """Reject invalid time limits.

    Raises:
        InputError: The limit is invalid; the message calls it `name`.
    """
    if limit is not None and not 0 < limit <= MOST_SECONDS:
        raise InputError(f"{name}: must be seconds, over 0 and up to {MOST_SECONDS:g}, got {limit}")


def too_long(limit: float) -> str:
    """Describe the failure of an evaluation that exceeded its time limit."""
    return f"it took longer than the time limit of {limit:g} s"


def evaluate_within(evaluate: Evaluate, arch: Arch, limit: float | None) -> Mapping[str, float]:
    """Evaluate an arch within `limit` seconds; None for no limit.

    In the main thread the evaluation is interrupted at the limit. Elsewhere, and where code does
    not return to Python or catches the interruption, the total time is checked at the end.

    Raises:
        TimeoutError: The evaluation took longer.
    """
    if limit is None:
        return evaluate(arch)
    began = time.monotonic()
    # The main thread alone receives signals.
    is_main = threading.current_thread() is threading.main_thread()
    try:
        with _Alarm(limit) if is_main else nullcontext():
            metrics = evaluate(arch)
    except _Overtime:
        pass
    except Exception:
        # Past the limit, an error may stem from the interruption, and the time limit says more.
        if time.monotonic() - began <= limit:
            raise
    else:
        if time.monotonic() - began <= limit:
            return metrics
    raise TimeoutError(too_long(limit))


class _Overtime(BaseException):
    """Interrupts an evaluation; a `BaseException`, since evaluators may catch `Exception`."""


class _Alarm:
    """Raises `_Overtime` in its body, repeatedly, since the body may catch it."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._over = False

    def __enter__(self) -> None:
        self._before = signal.signal(signal.SIGALRM, self._ring)
        self._began = time.monotonic()
        self._users = signal.setitimer(signal.ITIMER_REAL, self._seconds, AGAIN_SECONDS)

    def __exit__(self, *_: object) -> None:
        self._over = True
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self._before)
        left, interval = self._users
        if left:
            # A user's own alarm rings when it is due, or at once if overdue.
            passed = time.monotonic() - self._began
            signal.setitimer(signal.ITIMER_REAL, max(left - passed, 1e-3), interval)

    def _ring(self, _: int, frame: FrameType | None) -> None:
        # Never inside this file's code: there the evaluation is over and the timer about to stop.
        if not self._over and (frame is None or frame.f_globals is not globals()):
            raise _Overtime
