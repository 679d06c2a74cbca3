"""The stage of each subcommand, imported when it runs so that no command waits for others."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from search.cli.parse import Call
from search.cli.stored_options import describe_values
from search.pipeline.run_folder import RunFolder
from search.utils.console import new_console, print_line, show_rows
from search.utils.launcher import LauncherEnvironment, is_main_process, process_group
from space.utils.errors import InputError

if TYPE_CHECKING:
    # It imports torch, for which `status` and `report` must not wait.
    from search.pipeline.context import RunContext


def run_call(call: Call) -> None:
    """Run the command of a command line.

    Raises:
        InputError: The input is wrong; the message says where, and what would be right.
    """
    name = call.command.name
    if name != "train" and LauncherEnvironment.read(os.environ) is not None:
        raise InputError(
            f"tokennas {name} is for one process; several can train the supernet together, and the "
            "other stages then go on alone"
        )
    if call.config is None:
        _inspect_model(call)
        return
    folder = RunFolder(call.config, call.file)
    if call.taken and is_main_process():
        print(f"as before in {folder.path}: {describe_values(call.taken)}")
    if name in LOOKS:
        LOOKS[name](folder)
        return
    if call.config.search.ray.runtime_env:
        # Also without workers: they may be asked for later. The import of Ray takes seconds.
        from search.distributed.connect import check_keys  # noqa: PLC0415

        check_keys(call.config.search.ray)
    from search.pipeline.context import RunContext  # noqa: PLC0415

    STAGES[name](RunContext(call.config, call.file), call)


def _train(run: RunContext, call: Call) -> None:
    from search.pipeline.train import train  # noqa: PLC0415

    with process_group():
        train(run)


def _search(run: RunContext, call: Call) -> None:
    from search.pipeline.search import search  # noqa: PLC0415

    search(run)


def _status(folder: RunFolder) -> None:
    from search.study.status import described, read_status  # noqa: PLC0415

    print_line(new_console(), described(read_status(folder.search)))


def _export(run: RunContext, call: Call) -> None:
    from search.pipeline.export import export  # noqa: PLC0415

    export(run, call.options.get("archs") or [])


def _retrain(run: RunContext, call: Call) -> None:
    from search.pipeline.retrain import retrain  # noqa: PLC0415

    found = retrain(run, call.options.get("archs") or [])
    if call.command.name == "run":
        # The report's table has the retrained networks.
        _report(run.folder)
    else:
        show_rows(found.rows, run.console, title=found.title)
    found.check()


def _evaluate(run: RunContext, call: Call) -> None:
    from search.pipeline.evaluate import evaluate  # noqa: PLC0415

    if not call.options["archs"]:
        raise InputError("tokennas evaluate needs arch files: --archs a.yaml b.yaml")
    evaluate(run, call.options["archs"])


def _report(folder: RunFolder) -> None:
    from search.report import make_report  # noqa: PLC0415

    make_report(folder.path, folder.config.search.name, new_console())


def _profile(run: RunContext, call: Call) -> None:
    from search.pipeline.profile import ProfileOptions, profile  # noqa: PLC0415

    given = {name: value for name, value in call.options.items() if value is not None}
    profile(run, ProfileOptions(**given))


def _run(run: RunContext, call: Call) -> None:
    from search.pipeline.check import check  # noqa: PLC0415

    check(run)
    for stage in (_train, _search, _export, _retrain):
        stage(run, call)


def _inspect(run: RunContext, call: Call) -> None:
    from search.pipeline.inspect import inspect_config  # noqa: PLC0415

    inspect_config(run)


def _inspect_model(call: Call) -> None:
    from search.pipeline.inspect import inspect_model  # noqa: PLC0415

    if not call.options["model"]:
        raise InputError("tokennas inspect needs a config, or --model NAME")
    inspect_model(call.options["model"], call.options["args"], new_console())


# Commands that only read a run's folder.
LOOKS: dict[str, Callable[[RunFolder], None]] = {"status": _status, "report": _report}
STAGES: dict[str, Callable[[RunContext, Call], None]] = {
    "run": _run,
    "train": _train,
    "search": _search,
    "export": _export,
    "retrain": _retrain,
    "evaluate": _evaluate,
    "profile": _profile,
    "inspect": _inspect,
}
