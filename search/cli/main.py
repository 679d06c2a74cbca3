"""The command `tokennas`: does what its command line asks for, and says what went wrong.

What takes long to import is imported where Ctrl-C is answered in a line already.
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
from space.utils.signals import ProcessLostError, Terminated, stoppable, terminable

# What a shell says of a command that a signal has ended.
INTERRUPTED, TERMINATED = 128 + signal.SIGINT, 128 + signal.SIGTERM
SPEAKS_IN = 5.0
GOES_ON = "the same command goes on from here"


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line.

    Returns:
        Its exit code: 0, 1 where another process of a training has ended, 2 for wrong input and
        for what cannot be written, 130 after Ctrl-C, 143 after SIGTERM.
    """
    from search.utils.launcher import OwnError, leads  # noqa: PLC0415

    _quiet()
    try:
        with terminable():
            # Signals wait for the imports: a library that loads may swallow a KeyboardInterrupt.
            with stoppable():
                from search.cli.parse import parse_call  # noqa: PLC0415

                call = parse_call(sys.argv[1:] if argv is None else argv)
                from search.cli.dispatch import run_call  # noqa: PLC0415
            run_call(call)
    except InputError as error:
        if leads() or isinstance(error, OwnError):
            print(f"tokennas: {error}", file=sys.stderr)
        else:
            # A launcher ends all processes when one has ended: the first is to speak before.
            time.sleep(SPEAKS_IN)
        return 2
    except ProcessLostError as error:
        print(f"tokennas: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as error:
        what, code = ("interrupted", INTERRUPTED)
        if isinstance(error, Terminated):
            what, code = ("terminated", TERMINATED)
        if leads():
            print(f"tokennas: {what}; {GOES_ON}", file=sys.stderr)
        return code
    return 0


def command() -> NoReturn:
    """The command of the distribution: `main`, after which there is nothing left to interrupt."""
    code: int | None = None

    def skip_teardown() -> None:
        if code is not None:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    # What is registered first is called last. Python would then take torch down piece by piece,
    # for one or two seconds in which the terminal waits.
    atexit.register(skip_teardown)
    code = main()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    sys.exit(code)


def _quiet() -> None:
    """Silence what libraries warn of and users cannot change."""
    warnings.filterwarnings("ignore", module=r"(torch|timm|jsonargparse)\b.*")
    logging.getLogger("timm").setLevel(logging.ERROR)
