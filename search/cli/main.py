"""The command `tokennas`: runs a command line, and prints errors in one line.

Slow imports are inside the `try` that handles Ctrl-C.
"""

from __future__ import annotations

import atexit
import logging
import os
import signal
import sys
import time
import warnings
from collections.abc import Sequence
from typing import NoReturn

from space.utils.errors import InputError
from space.utils.signals import ProcessLostError, Terminated, defer_signals, raise_on_sigterm

# Time for the main process to print its error before a launcher ends all processes.
ERROR_SECONDS = 5.0


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line.

    Returns:
        Exit code: 0; 1 if another training process was lost; 2 for invalid input and files that
        cannot be written; 130 after Ctrl-C; 143 after SIGTERM.
    """
    from search.utils.launcher import ProcessError, is_main_process  # noqa: PLC0415

    # Warnings of libraries that users cannot act on.
    warnings.filterwarnings("ignore", module=r"(torch|timm|jsonargparse)\b.*")
    logging.getLogger("timm").setLevel(logging.ERROR)
    try:
        with raise_on_sigterm():
            # Signals wait for imports: a library may swallow a KeyboardInterrupt while it loads.
            with defer_signals():
                from search.cli.parse import parse_call  # noqa: PLC0415

                call = parse_call(sys.argv[1:] if argv is None else argv)
                from search.cli.dispatch import run_call  # noqa: PLC0415
            run_call(call)
    except InputError as error:
        if is_main_process() or isinstance(error, ProcessError):
            print(f"tokennas: {error}", file=sys.stderr)
        else:
            time.sleep(ERROR_SECONDS)
        return 2
    except ProcessLostError as error:
        print(f"tokennas: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as error:
        terminated = isinstance(error, Terminated)
        if is_main_process():
            event = "terminated" if terminated else "interrupted"
            print(f"tokennas: {event}; the same command goes on from here", file=sys.stderr)
        # Exit codes of shells for commands that a signal has ended.
        return 128 + (signal.SIGTERM if terminated else signal.SIGINT)
    return 0


def command() -> NoReturn:
    """Run `main` as the console script, and exit without teardown."""
    code: int | None = None

    def skip_teardown() -> None:
        if code is not None:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    # Registered first, hence called last. Python's teardown of torch takes longer than a second, a
    # third of a short command, in which Ctrl-C would seem unheard.
    atexit.register(skip_teardown)
    try:
        code = main()
        _exit_on_signals(code)
    except KeyboardInterrupt:  # a second one, while the first is answered
        code = 128 + signal.SIGINT
        _exit_on_signals(code)
    sys.exit(code)


def _exit_on_signals(code: int) -> None:
    """Let a signal end an exit function that hangs."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: os._exit(code))
