"""The command `tokennas`: does what its command line asks for, and says what went wrong.

What takes long to import is imported where Ctrl-C is answered in a line already.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import time
import warnings
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

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
    from search.parsing import parse_call  # noqa: PLC0415
    from search.processes import OwnError, leads  # noqa: PLC0415
    from space.utils.errors import InputError  # noqa: PLC0415
    from space.utils.signals import ProcessLostError, Terminated, terminable  # noqa: PLC0415

    _quiet()
    try:
        with terminable():
            call = parse_call(sys.argv[1:] if argv is None else argv)
            from search.dispatch import run_call  # noqa: PLC0415

            _begin()
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
    """The command of the distribution: `main`, and out.

    Python would take down torch and its kind piece by piece, for more than a second.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)
    code = main()
    for number in (signal.SIGINT, signal.SIGTERM):
        # There is nothing left to interrupt, only to leave sooner.
        signal.signal(number, lambda *_: os._exit(code))
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    """Ctrl-C before there is work to lose: libraries that load may swallow a KeyboardInterrupt."""
    # Of processes that a launcher started one speaks.
    if os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0")) == "0":
        os.write(sys.stderr.fileno(), f"tokennas: interrupted; {GOES_ON}\n".encode())
    os._exit(INTERRUPTED)


def _begin() -> None:
    """From now on Ctrl-C raises KeyboardInterrupt, so that what is being done is stored."""
    if signal.getsignal(signal.SIGINT) is _leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _quiet() -> None:
    """Silence what libraries warn of and users cannot change."""
    import logging  # noqa: PLC0415

    warnings.filterwarnings("ignore", module=r"(torch|timm|jsonargparse)\b.*")
    logging.getLogger("timm").setLevel(logging.ERROR)
