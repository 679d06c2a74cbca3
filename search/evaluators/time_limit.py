"""The time limit of an evaluation."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Mapping
from types import FrameType

from search.problem.objectives import Evaluate
from space.arch import Arch
from space.utils.errors import InputError

MOST_SECONDS = 1e8
# Between interruptions, where the first was caught; time enough to tidy up after one.
AGAIN_SECONDS = 0.5


def check_limit(limit: float | None, name: str = "time_limit") -> None:
    """Refuse what is no time that could be waited.

    Raises:
        InputError: naming it as `name`.
    """
    if limit is not None and not 0 < limit <= MOST_SECONDS:
        raise InputError(f"{name}: must be seconds, over 0 and up to {MOST_SECONDS:g}, got {limit}")


def too_long(limit: float) -> str:
    """Why an evaluation failed that met the limit."""
    return f"it took longer than the time limit of {limit:g} s"


def evaluate_within(evaluate: Evaluate, arch: Arch, limit: float | None) -> Mapping[str, float]:
    """The metrics of an arch, where that takes no longer than `limit` seconds; None for no limit.

    In the main thread it is interrupted then. Elsewhere, and where code does not come back to
    Python, or gets over the interruption, the time counts that it took in the end.

    Raises:
        TimeoutError: It took longer.
    """
    if limit is None:
        return evaluate(arch)
    began = time.monotonic()
    try:
        with _Alarm(limit):
            metrics = evaluate(arch)
    except _Overtime:
        pass
    except Exception:
        # What was raised in place of the interruption says less than the time that it took.
        if time.monotonic() - began <= limit:
            raise
    else:
        if time.monotonic() - began <= limit:
            return metrics
    raise TimeoutError(too_long(limit))


class _Overtime(BaseException):
    """Interrupts an evaluation; no Exception, which the code that evaluates may catch."""


class _Alarm:
    """Raises `_Overtime` in what is called inside, again and again: it may be caught there.

    Does nothing outside the main thread, which alone hears the clock.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._heard = threading.current_thread() is threading.main_thread()
        self._over = False
        self._before: Callable[..., object] | int | None = None
        self._users = 0.0, 0.0
        self._began = 0.0

    def __enter__(self) -> None:
        if self._heard:
            self._before = signal.signal(signal.SIGALRM, self._ring)
            self._began = time.monotonic()
            self._users = signal.setitimer(signal.ITIMER_REAL, self._seconds, AGAIN_SECONDS)

    def __exit__(self, *_: object) -> None:
        self._over = True
        if self._heard:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, self._before)
            left, interval = self._users
            if left:
                # An alarm of the user's own rings when it is due, or now that it is overdue.
                passed = time.monotonic() - self._began
                signal.setitimer(signal.ITIMER_REAL, max(left - passed, 1e-3), interval)

    def _ring(self, _: int, frame: FrameType | None) -> None:
        # Not in this file, where the evaluation is over and the alarm is yet to be stopped.
        if not self._over and (frame is None or frame.f_globals is not globals()):
            raise _Overtime
