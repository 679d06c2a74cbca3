"""Which stage each subcommand calls."""

from __future__ import annotations

import os
from collections.abc import Callable

from search.config import Config
from search.folder import RunFolder
from search.parsing import Call
from search.processes import Launched, joined, leads
from search.stored import describe_values
from search.tables import new_console, show_rows
from space.utils.errors import InputError

# Commands that only look at what there is.
LOOKS = ("status", "report")


def run_call(call: Call) -> None:
    """Do what a command line asks for.

    Raises:
        InputError: what is wrong, where, and what would be right.
    """
    if call.command.name != "train" and Launched.read(os.environ) is not None:
        raise InputError(
            f"tokennas {call.command.name} is for one process; several can train the supernet "
            "together, and the other stages then go on alone"
        )
    if call.config is not None and call.command.name not in LOOKS:
        _check_ray(call.config)
    if call.taken and leads():
        run = RunFolder(_config(call), call.file).path
        print(f"as before in {run}: {describe_values(call.taken)}")
    RUN[call.command.name](call)


def _check_ray(config: Config) -> None:
    """Refuse unknown keys of what Ray is to set up; workers that are not there now may come."""
    if config.search.ray.runtime_env:
        # Ray is imported where it is used.
        from search.cluster.connecting import check_keys  # noqa: PLC0415

        check_keys(config.search.ray)


def _train(call: Call) -> None:
    # Each stage is imported where it runs: none waits for what the others need.
    from search.stages.training import train  # noqa: PLC0415

    with joined():
        train(_config(call), call.file)


def _search(call: Call) -> None:
    from search.stages.searching import search  # noqa: PLC0415

    search(_config(call), call.file, new_console())


def _status(call: Call) -> None:
    from search.status import described, read_status  # noqa: PLC0415

    config = _config(call)
    folder = RunFolder(config, call.file).stage("search") / config.search.name
    new_console().print(
        described(read_status(folder)), highlight=False, markup=False, soft_wrap=True
    )


def _export(call: Call) -> None:
    from search.stages.exporting import export  # noqa: PLC0415

    export(_config(call), call.file, call.options.get("archs") or [], new_console())


def _retrain(call: Call) -> None:
    from search.stages.retraining import retrain  # noqa: PLC0415

    found = retrain(_config(call), call.file, call.options.get("archs") or [], new_console())
    show_rows(found.rows, new_console(), title=found.title)
    found.check()


def _evaluate(call: Call) -> None:
    from search.stages.evaluating import evaluate  # noqa: PLC0415

    if not call.options["archs"]:
        raise InputError("tokennas evaluate needs arch files: --archs a.yaml b.yaml")
    evaluate(_config(call), call.file, call.options["archs"], new_console())


def _report(call: Call) -> None:
    from search.report import make_report  # noqa: PLC0415

    config = _config(call)
    make_report(RunFolder(config, call.file).path, config.search.name, new_console())


def _profile(call: Call) -> None:
    from search.stages.profiling import ProfileOptions, profile  # noqa: PLC0415

    given = {name: value for name, value in call.options.items() if value is not None}
    profile(_config(call), call.file, ProfileOptions(**given), new_console())


def _run(call: Call) -> None:
    from search.stages.checking import check  # noqa: PLC0415
    from search.stages.retraining import retrain  # noqa: PLC0415

    check(_config(call), call.file)
    for stage in (_train, _search, _export):
        stage(call)
    # The report's table has the retrained networks.
    found = retrain(_config(call), call.file, [], new_console())
    _report(call)
    found.check()


def _config(call: Call) -> Config:
    assert call.config is not None
    return call.config


def _inspect(call: Call) -> None:
    from search.inspecting import inspect_config, inspect_model  # noqa: PLC0415

    console = new_console()
    if call.config is not None:
        inspect_config(call.config, call.file, console)
    elif call.options["model"]:
        inspect_model(call.options["model"], call.options["args"], console)
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
