"""The stage of each subcommand, imported when it runs so that no command waits for others."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

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
        _inspect_model(call.options)
        return
    folder = RunFolder(call.config, call.file)
    if call.taken and is_main_process():
        print(f"as before in {folder.path}: {describe_values(call.taken)}")
    if name == "status":
        from search.study.status import format_status, read_status  # noqa: PLC0415

        print_line(new_console(), format_status(read_status(folder.search)))
    elif name == "report":
        _report(folder)
    else:
        from search.pipeline.context import RunContext  # noqa: PLC0415

        _run_stage(name, RunContext(call.config, call.file), call.options)


def _run_stage(name: str, run: RunContext, options: dict[str, Any]) -> None:
    """Run the stage of a subcommand.

    Args:
        name: The subcommand.
        run: The run.
        options: Values of the subcommand's own options.
    """
    archs = options.get("archs") or []
    match name:
        case "run":
            _run_all(run)
        case "train":
            from search.pipeline.train import train  # noqa: PLC0415

            with process_group():
                train(run)
        case "search":
            from search.pipeline.search import search  # noqa: PLC0415

            search(run)
        case "export":
            from search.pipeline.export import export  # noqa: PLC0415

            export(run, archs)
        case "retrain":
            from search.pipeline.retrain import retrain  # noqa: PLC0415

            found = retrain(run, archs)
            show_rows(found.rows, run.console, title=found.title)
            found.check()
        case "evaluate":
            from search.pipeline.evaluate import evaluate  # noqa: PLC0415

            if not archs:
                raise InputError("tokennas evaluate needs arch files: --archs a.yaml b.yaml")
            evaluate(run, archs)
        case "profile":
            from search.pipeline.profile import ProfileOptions, profile  # noqa: PLC0415

            given = {name: value for name, value in options.items() if value is not None}
            profile(run, ProfileOptions(**given))
        case "inspect":
            from search.pipeline.inspect import inspect_config  # noqa: PLC0415

            inspect_config(run)


def _run_all(run: RunContext) -> None:
    """Run all stages of a run, one after the other."""
    from search.pipeline.check import check  # noqa: PLC0415
    from search.pipeline.retrain import retrain  # noqa: PLC0415

    check(run)
    for stage in ("train", "search", "export"):
        _run_stage(stage, run, {})
    found = retrain(run, [])
    # Its table has the retrained networks.
    _report(run.folder)
    found.check()


def _report(folder: RunFolder) -> None:
    from search.report import make_report  # noqa: PLC0415

    make_report(folder.path, folder.config.search.name, new_console())


def _inspect_model(options: dict[str, Any]) -> None:
    from search.pipeline.inspect import inspect_model  # noqa: PLC0415

    if not options["model"]:
        raise InputError("tokennas inspect needs a config, or --model NAME")
    inspect_model(options["model"], options["args"], new_console())
