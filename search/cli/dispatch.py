"""Runs the stage of a subcommand; `status` and `report` do not wait for imports of torch."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from search.cli.arguments import format_options
from search.cli.parse import Call
from search.pipeline.run_folder import RunFolder
from search.utils.console import new_console, print_line, show_rows
from search.utils.launcher import LauncherEnvironment, is_main_process, process_group
from space.utils.errors import InputError

if TYPE_CHECKING:
    # Imports torch, which `status` and `report` must not wait for.
    from search.pipeline.context import RunContext


def run_call(call: Call) -> None:
    """Run the command of a command line.

    Raises:
        InputError: The input is invalid; the message names the place and the valid values.
    """
    name = call.command.name
    if name != "train" and LauncherEnvironment.read(os.environ) is not None:
        raise InputError(
            f"tokennas {name} is for one process; only tokennas train may be launched in several "
            "by torchrun or srun"
        )
    if call.file is None:
        from search.pipeline.inspect import inspect_model  # noqa: PLC0415

        inspect_model(call.options["model"], call.config.backbone.args, new_console())
        return
    folder = RunFolder(call.config, call.file)
    if call.stored_values and is_main_process():
        values = format_options(call.stored_values)
        print(f"options of earlier commands in {folder.path}: {values}")
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
    # ruff: disable[PLC0415]
    from search.pipeline.check import check
    from search.pipeline.evaluate import evaluate
    from search.pipeline.export import export
    from search.pipeline.inspect import inspect_config
    from search.pipeline.profile import ProfileOptions, profile
    from search.pipeline.retrain import retrain
    from search.pipeline.search import search
    from search.pipeline.train import train

    # ruff: enable[PLC0415]
    archs = options.get("archs") or []
    match name:
        case "run":
            check(run)
            for stage in ("train", "search", "export"):
                _run_stage(stage, run, {})
            results = retrain(run, [])
            # No table here: that of the report has the retrained networks.
            _report(run.folder)
            results.check()
        case "train":
            with process_group():
                train(run)
        case "search":
            search(run)
        case "export":
            export(run, archs)
        case "retrain":
            results = retrain(run, archs)
            show_rows(results.rows, run.console, title=results.title)
            results.check()
        case "evaluate":
            evaluate(run, archs, options.get("save"))
        case "profile":
            values = {name: value for name, value in options.items() if value is not None}
            profile(run, ProfileOptions(**values))
        case "inspect":
            inspect_config(run)


def _report(folder: RunFolder) -> None:
    """Write the report of a run's folder."""
    from search.report import make_report  # noqa: PLC0415

    make_report(folder.path, folder.config.search.name, new_console())
