"""What ends a training: signals, after which it ends its step and is stored, and lost processes."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn


class Terminated(KeyboardInterrupt):
    """SIGTERM: a scheduler wants the machine back, or somebody ends the process from outside."""


class ProcessLostError(RuntimeError):
    """Another process of the training has ended, so that this one cannot go on."""


def terminate(number: int, frame: FrameType | None) -> NoReturn:
    """What SIGTERM does in `terminable`."""
    raise Terminated


@contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM raises `Terminated`, as Ctrl-C raises KeyboardInterrupt; for a while.

    Only in the main thread, and only where nobody else handles SIGTERM.
    """
    with handlers_kept():
        if _in_main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, terminate)
        yield


@contextmanager
def handlers_kept() -> Iterator[None]:
    """What is done inside may take the handlers for its own; afterwards they are as before."""
    numbers = (signal.SIGINT, signal.SIGTERM) if _in_main_thread() else ()
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            # None is a handler that is not Python's, which it could not set again.
            if handler is not None:
                signal.signal(number, handler)


@contextmanager
def unheard() -> Iterator[None]:
    """Ctrl-C and SIGTERM do nothing, for what is short and must not be cut."""
    with handlers_kept():
        for number in (signal.SIGINT, signal.SIGTERM) if _in_main_thread() else ():
            signal.signal(number, signal.SIG_IGN)
        yield


# Asked for by whoever cannot send a signal; for as long as the process lives.
_asked = threading.Event()


def ask_to_stop() -> None:
    """What SIGTERM does, for trainings in a thread that hears no signals."""
    _asked.set()


class Stop:
    """Whether a signal wants a training to stop.

    Args:
        patient: whether a second Ctrl-C waits too: launchers repeat the first one.

    Attributes:
        signal: the first that was heard; None before.
    """

    def __init__(self, patient: bool = False) -> None:
        self._patient = patient
        self.signal: int | None = None
        self._waits = True

    @property
    def wanted(self) -> bool:
        return self.signal is not None or _asked.is_set()

    def leave(self) -> NoReturn:
        """Raise what the signal stands for, by itself or of another process."""
        if self.signal == signal.SIGINT:
            raise KeyboardInterrupt
        raise Terminated

    def check(self) -> None:
        """Leave if a signal was heard; who was asked otherwise leaves after a step, with others."""
        if self.signal is not None:
            self.leave()

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """What is done inside is not waited for."""
        self._waits = False
        try:
            self.check()
            yield
        finally:
            self._waits = True

    def hear(self, number: int, frame: FrameType | None) -> None:
        """A handler: notes the first signal; a second Ctrl-C leaves whatever is being done."""
        again = self.wanted and number == signal.SIGINT and not self._patient
        if not self.wanted:
            self.signal = number
        if again or not self._waits:
            self.leave()


@contextmanager
def stoppable(wanted: bool = True, patient: bool = False) -> Iterator[Stop]:
    """Ctrl-C and SIGTERM are noted, for a while, instead of interrupting what is being done.

    Only in the main thread, and only where nobody else handles them; at the end the handlers are
    as before.

    Args:
        wanted: False leaves the signals as they are.
        patient: see `Stop`.

    Raises:
        KeyboardInterrupt: Ctrl-C was heard; `Terminated`, which is one, after SIGTERM.
    """
    stop = Stop(patient)
    before = _free_handlers() if wanted else {}
    try:
        with handlers_kept():
            for number in before:
                signal.signal(number, stop.hear)
            yield stop
        # Outside, where whatever is heard now does what it did before.
        stop.check()
    except KeyboardInterrupt:
        if stop.signal is not None and before.get(stop.signal) is signal.SIG_DFL:
            # Who leaves SIGTERM to the system expects a process that ends by it, and no exception.
            signal.raise_signal(stop.signal)
        raise


def _free_handlers() -> dict[int, Any]:
    """The handlers, by signal, that nobody misses for a while."""
    if not _in_main_thread():
        return {}
    usual: dict[int, tuple[Any, ...]] = {
        signal.SIGINT: (signal.default_int_handler,),
        signal.SIGTERM: (signal.SIG_DFL, terminate),
    }
    found = {number: signal.getsignal(number) for number in usual}
    return {number: handler for number, handler in found.items() if handler in usual[number]}


def _in_main_thread() -> bool:
    """Python lets no other thread handle signals."""
    return threading.current_thread() is threading.main_thread()
