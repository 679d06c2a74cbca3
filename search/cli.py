"""The command `tokennas`: reads the command line, calls the stage, says what went wrong."""

from __future__ import annotations

import atexit
import logging
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from typing import NoReturn

from rich.console import Console

from search.config import Config
from search.folder import RunFolder
from search.parsing import Call, parse_call
from search.processes import Launched, OwnError, joined, leads
from search.stored import describe_values
from space.errors import InputError
from space.interruption import Terminated, terminable
from supernet.parallel import ProcessLostError

# What a shell says of a command that a signal has ended.
INTERRUPTED, TERMINATED = 128 + signal.SIGINT, 128 + signal.SIGTERM
SPEAKS_IN = 5.0


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line.

    Returns:
        Its exit code: 0, 1 where another process of a training has ended, 2 for wrong input and
        for what cannot be written, 130 after Ctrl-C, 143 after SIGTERM.
    """
    _quiet()
    try:
        with terminable():
            _run_command(sys.argv[1:] if argv is None else argv)
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
            print(f"tokennas: {what}; the same command goes on from here", file=sys.stderr)
        return code
    return 0


def command() -> NoReturn:
    """The command of the distribution: `main`, and out.

    Python would take down torch and its kind piece by piece, for more than a second.
    """
    code = main()
    for number in (signal.SIGINT, signal.SIGTERM):
        # There is nothing left to interrupt, only to leave sooner.
        signal.signal(number, lambda *_: os._exit(code))
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _run_command(argv: Sequence[str]) -> None:
    call = parse_call(argv)
    if call.command.name != "train" and Launched.read(os.environ) is not None:
        raise InputError(
            f"tokennas {call.command.name} is for one process; several can train the supernet "
            "together, and the other stages then go on alone"
        )
    if call.taken and leads():
        run = RunFolder(_config(call), call.file).path
        print(f"as before in {run}: {describe_values(call.taken)}")
    RUN[call.command.name](call)


def _train(call: Call) -> None:
    # Each stage is imported where it runs: none waits for what the others need.
    from search.stages.training import train  # noqa: PLC0415

    with joined():
        train(_config(call), call.file)


def _search(call: Call) -> None:
    from search.stages.searching import search  # noqa: PLC0415

    search(_config(call), call.file, _console())


def _status(call: Call) -> None:
    from search.status import described, read_status  # noqa: PLC0415

    config = _config(call)
    folder = RunFolder(config, call.file).stage("search") / config.search.name
    _console().print(described(read_status(folder)), highlight=False, markup=False, soft_wrap=True)


def _export(call: Call) -> None:
    from search.stages.exporting import export  # noqa: PLC0415

    export(_config(call), call.file, call.options.get("archs") or [], _console())


def _retrain(call: Call) -> None:
    from search.stages.retraining import retrain  # noqa: PLC0415
    from search.tables import show_rows  # noqa: PLC0415

    found = retrain(_config(call), call.file, call.options.get("archs") or [], _console())
    show_rows(found.rows, Console(), title="retrained, on the test split")
    found.check()


def _evaluate(call: Call) -> None:
    from search.stages.evaluating import evaluate  # noqa: PLC0415

    if not call.options["archs"]:
        raise InputError("tokennas evaluate needs arch files: --archs a.yaml b.yaml")
    evaluate(_config(call), call.file, call.options["archs"], _console())


def _report(call: Call) -> None:
    from search.report import make_report  # noqa: PLC0415

    config = _config(call)
    make_report(RunFolder(config, call.file).path, config.search.name, _console())


def _profile(call: Call) -> None:
    from search.stages.profiling import ProfileOptions, profile  # noqa: PLC0415

    given = {name: value for name, value in call.options.items() if value is not None}
    profile(_config(call), call.file, ProfileOptions(**given), _console())


def _run(call: Call) -> None:
    from search.stages.checking import check  # noqa: PLC0415
    from search.stages.retraining import retrain  # noqa: PLC0415

    check(_config(call), call.file)
    for stage in (_train, _search, _export):
        stage(call)
    # The report's table has the retrained networks.
    found = retrain(_config(call), call.file, [], _console())
    _report(call)
    found.check()


def _config(call: Call) -> Config:
    assert call.config is not None
    return call.config


def _inspect(call: Call) -> None:
    from search.inspecting import inspect_config, inspect_model  # noqa: PLC0415

    console = _console()
    if call.config is not None:
        inspect_config(call.config, call.file, console)
    elif call.options["model"]:
        inspect_model(call.options["model"], console)
    else:
        raise InputError("tokennas inspect needs a config, or --model NAME")


RUN: dict[str, Callable[[Call], None]] = {
    "run": _run,
    "train": _train,
    "search": _search,
    "status": _status,
    "export": _export,
    "retrain": _retrain,
    "evaluate": _evaluate,
    "report": _report,
    "profile": _profile,
    "inspect": _inspect,
}


def _console() -> Console:
    """Standard output; where it is no terminal, wide enough for every table."""
    console = Console()
    return console if console.is_terminal else Console(width=160)


def _quiet() -> None:
    """Silence what libraries warn of and users cannot change."""
    warnings.filterwarnings("ignore", module=r"(torch|timm|jsonargparse)\b.*")
    logging.getLogger("timm").setLevel(logging.ERROR)
