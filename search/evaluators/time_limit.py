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

# Interval at which an evaluation that catches the interruption is interrupted again.
REPEAT_SECONDS = 0.5


def describe_timeout(limit: float) -> str:
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
    started = time.monotonic()
    # Only the main thread receives signals.
    is_main = threading.current_thread() is threading.main_thread()
    try:
        with _Alarm(limit) if is_main else nullcontext():
            metrics = evaluate(arch)
    except _Overtime:
        pass
    except Exception:
        # Past the limit, the error may stem from the interruption: report the time limit instead.
        if time.monotonic() - started <= limit:
            raise
    else:
        if time.monotonic() - started <= limit:
            return metrics
    raise TimeoutError(describe_timeout(limit))


class _Overtime(BaseException):
    """An evaluation's interruption; a `BaseException`, since evaluators may catch `Exception`."""


class _Alarm:
    """A context that raises `_Overtime` in its body, repeatedly, since the body may catch it."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._over = False

    def __enter__(self) -> None:
        self._user_handler = signal.signal(signal.SIGALRM, self._interrupt)
        self._started = time.monotonic()
        self._user_timer = signal.setitimer(signal.ITIMER_REAL, self._seconds, REPEAT_SECONDS)

    def __exit__(self, *_: object) -> None:
        self._over = True
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self._user_handler)
        remaining, interval = self._user_timer
        if remaining:
            # A user's own alarm rings when it is due, or at once if overdue.
            elapsed = time.monotonic() - self._started
            signal.setitimer(signal.ITIMER_REAL, max(remaining - elapsed, 1e-3), interval)

    def _interrupt(self, _: int, frame: FrameType | None) -> None:
        # Not while code of this file runs: the evaluation has not begun (the timer repeats) or has
        # returned already.
        if not self._over and (frame is None or frame.f_globals is not globals()):
            raise _Overtime
