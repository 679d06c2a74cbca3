"""The time limit of an evaluation."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from search.objectives import Evaluate
from search.record import Spent
from search.sharing import Sharing
from space.arch import Arch
from space.errors import InputError

MOST_SECONDS = 1e8


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


def limited(evaluate: Evaluate, limit: float | None) -> Evaluate:
    """`evaluate`, interrupted in this thread after `limit` seconds by a TimeoutError.

    Code that never comes back to Python is not interrupted: workers are ended, this process is not.

    Raises:
        InputError: this is not the main thread, which alone hears the clock.
    """
    if limit is None:
        return evaluate
    if threading.current_thread() is not threading.main_thread():
        raise InputError("time_limit: without workers a search must run in the main thread")

    return (_LimitedSharing if isinstance(evaluate, Sharing) else _Limited)(evaluate, limit)


class _Limited:
    """Evaluates within a limit."""

    def __init__(self, evaluate: Any, limit: float) -> None:
        self._evaluate = evaluate
        self._limit = limit

    def __call__(self, arch: Arch) -> Mapping[str, float]:
        with _Alarm(self._limit):
            metrics: Mapping[str, float] = self._evaluate(arch)
            return metrics


class _LimitedSharing(_Limited):
    """The same, where evaluations share work."""

    @property
    def spent(self) -> Spent:
        spent: Spent = self._evaluate.spent
        return spent

    def expect(self, archs: Sequence[Arch]) -> Sequence[Arch]:
        found: Sequence[Arch] = self._evaluate.expect(archs)
        return found


class _Alarm:
    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._before: Callable[..., object] | int | None = None

    def __enter__(self) -> None:
        self._before = signal.signal(signal.SIGALRM, self._ring)
        signal.setitimer(signal.ITIMER_REAL, self._seconds)

    def __exit__(self, *_: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self._before)

    def _ring(self, *_: object) -> NoReturn:
        raise TimeoutError(too_long(self._seconds))
