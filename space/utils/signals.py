"""Signals deferred to the end of a step, a write or an import; the error of a lost process."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn


class Terminated(KeyboardInterrupt):
    """SIGTERM was received, from a scheduler or a user."""


class ProcessLostError(RuntimeError):
    """Another process of the training has exited, so that this one cannot continue."""


def terminate(number: int, frame: FrameType | None) -> NoReturn:
    """Raise `Terminated`; the handler of SIGTERM inside `raise_on_sigterm`."""
    raise Terminated


@contextmanager
def raise_on_sigterm() -> Iterator[None]:
    """Make SIGTERM raise `Terminated`, as Ctrl-C raises KeyboardInterrupt.

    Only in the main thread, and only where SIGTERM has no other handler.
    """
    with restore_handlers():
        if _handlers().get(signal.SIGTERM) is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, terminate)
        yield


@contextmanager
def restore_handlers() -> Iterator[None]:
    """Restore the handlers of SIGINT and SIGTERM at the end of the context."""
    before = _handlers()
    try:
        yield
    finally:
        for number, handler in before.items():
            # None is a handler not set from Python, which signal.signal cannot restore.
            if handler is not None:
                signal.signal(number, handler)


def _handlers() -> dict[int, Any]:
    """Return the handlers of SIGINT and SIGTERM; none outside the main thread, which sets them."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    return {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}


# Set by `request_stop`, until the process exits.
_stop_requested = threading.Event()


def request_stop() -> None:
    """Stop a training as SIGTERM does, for trainings outside the main thread."""
    _stop_requested.set()


class Stop:
    """The requests to stop a training.

    Args:
        patient: Whether a second Ctrl-C also waits, since launchers repeat the first one.

    Attributes:
        signal: The first signal received, or None.
    """

    def __init__(self, patient: bool = False) -> None:
        self._patient = patient
        self.signal: int | None = None
        self._waits = True

    @property
    def requested(self) -> bool:
        return self.signal is not None or _stop_requested.is_set()

    def interrupt(self) -> NoReturn:
        """Raise KeyboardInterrupt or `Terminated`, also after a signal to another process."""
        if self.signal == signal.SIGINT:
            raise KeyboardInterrupt
        raise Terminated

    def check(self) -> None:
        """Interrupt if this process received a signal; other requests wait for the step's end."""
        if self.signal is not None:
            self.interrupt()

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Let a signal interrupt the context at once."""
        self._waits = False
        try:
            self.check()
            yield
        finally:
            self._waits = True

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal: store the first; a second Ctrl-C interrupts at once."""
        repeated = self.requested and number == signal.SIGINT and not self._patient
        if not self.requested:
            self.signal = number
        if repeated or not self._waits:
            self.interrupt()


@contextmanager
def defer_signals(enabled: bool = True, patient: bool = False) -> Iterator[Stop]:
    """Store Ctrl-C and SIGTERM inside the context instead of interrupting it.

    Only in the main thread, and only where they have no other handler.

    Args:
        enabled: Whether to handle the signals at all.
        patient: See `Stop`.

    Raises:
        KeyboardInterrupt: Ctrl-C was received; its subclass `Terminated` after SIGTERM. Where
            SIGTERM had its default handler, it ends the process instead.
    """
    stop = Stop(patient)
    before = _handlers() if enabled else {}
    try:
        with restore_handlers():
            for number, handler in before.items():
                if handler in (signal.default_int_handler, signal.SIG_DFL, terminate):
                    signal.signal(number, stop.handle)
            yield stop
        # Only after the old handlers are restored, so that a further signal acts as before.
        stop.check()
    except KeyboardInterrupt:
        if stop.signal is not None and before.get(stop.signal) is signal.SIG_DFL:
            # With the default handler the parent expects the process to die of SIGTERM.
            signal.raise_signal(stop.signal)
        raise
