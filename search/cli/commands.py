"""The subcommands: their names, help texts and options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Option:
    """An option of one subcommand that is not a value of the config."""

    name: str
    type: Any
    help: str


@dataclass(frozen=True)
class Command:
    """A subcommand.

    Args:
        name: Name on the command line.
        help: Line in the list of commands.
        description: Text of its own --help, with an example.
        usage: Usage line after the name.
        needs_config: Whether it requires a config.
        needs_torch: Whether it runs networks. Others read only the names of run and search from a
            config.
        options: Its own options.
        sections: Sections of the config that its help lists.
        short: Shorthands, with the options of the config that they stand for.
    """

    name: str
    help: str
    description: str
    usage: str = "CONFIG [--section.key VALUE ...]"
    needs_config: bool = True
    needs_torch: bool = True
    options: tuple[Option, ...] = ()
    sections: tuple[str, ...] = ()
    short: Mapping[str, str] = field(default_factory=dict)


ARCH_FILES = "Arch files, front.yaml files or folders of them"
ARCHS = Option("archs", list[str] | None, f"{ARCH_FILES}, instead of the archs of the front")

_ALL = (
    Command(
        "run",
        help="train, search, export, retrain and report in one command",
        description=(
            "Runs all stages of a config. The same command goes on where it stopped. "
            "Example: tokennas run configs/quickstart.yaml"
        ),
        sections=("backbone", "data", "task", "space", "supernet", "search", "export", "retrain"),
    ),
    Command(
        "train",
        help="train the supernet of a config",
        description=(
            "Trains one set of weights for every arch of the space. The same command goes on where "
            "it stopped. Example: tokennas train configs/quickstart.yaml --supernet.epochs 20"
        ),
        sections=("backbone", "data", "task", "space", "supernet"),
    ),
    Command(
        "search",
        help="search the space on the trained supernet",
        description=(
            "Finds the archs with the best trade-offs between the objectives, within a budget. The "
            "same command goes on where it stopped; another budget needs another name. Example: "
            "tokennas search configs/quickstart.yaml --search.name half --search.budget macs=50%"
        ),
        sections=("search",),
    ),
    Command(
        "status",
        help="show the state of a search, also of one that runs in another shell",
        description=(
            "Shows the state of a search: finished evaluations, their rate, the best value so far, "
            "live workers, archs being evaluated. "
            "Example: tokennas status configs/quickstart.yaml --search.name main"
        ),
        needs_torch=False,
        sections=("search.name",),
    ),
    Command(
        "export",
        help="write the archs of the front as YAML, and subnets as files to deploy",
        description=(
            "Writes an arch file for each arch of the front; with a format also a folder for each "
            "subnet, or for each arch of --archs: weights, classes, preprocessing and a model "
            "card. Each exported file is run on images and compared with the subnet first. "
            "Example: tokennas export configs/quickstart.yaml --format onnx --archs a.yaml b.yaml"
        ),
        usage="CONFIG [--archs FILE ...] [--format FORMAT ...] [--section.key VALUE ...]",
        options=(ARCHS,),
        sections=("search.name", "export"),
        short={"--format": "--export.format"},
    ),
    Command(
        "retrain",
        help="retrain the best subnets and the full network",
        description=(
            "Retrains the best arch of the front within each budget, or the archs of --archs, and "
            "the full network by the same recipe. Example: "
            "tokennas retrain configs/quickstart.yaml --retrain.budgets '[60%, 40%]'"
        ),
        options=(ARCHS,),
        sections=("search.name", "retrain"),
    ),
    Command(
        "evaluate",
        help="evaluate arch files on the test split",
        description=(
            "Measures accuracy on the test split, MACs, parameters and images/s of arch files. "
            "With --save also writes predicted maps, such as depth, as PNG. "
            "Example: tokennas evaluate configs/quickstart.yaml --archs a.yaml b.yaml"
        ),
        options=(
            Option("archs", list[str] | None, f"{ARCH_FILES}; required"),
            Option("save", str | None, "Folder for the predicted maps of the test images"),
        ),
        sections=("data",),
    ),
    Command(
        "report",
        help="write tables, plots and one HTML page of a run's results",
        description=(
            "Writes plots and a self-contained report.html of the results in a run's folder. "
            "Example: tokennas report configs/quickstart.yaml"
        ),
        needs_torch=False,
        sections=("search.name",),
    ),
    Command(
        "profile",
        help="measure latency on this device, for budgets in milliseconds",
        description=(
            "Times subnets of a config's space on this machine, interleaved, and fits a latency "
            "table to them: a small YAML file, which may be copied to where the search runs. It "
            "needs neither training nor data. Examples: "
            "tokennas profile configs/quickstart.yaml --batch 64; "
            "tokennas search configs/quickstart.yaml --search.budget latency_ms=60%"
        ),
        options=(
            Option("batch", int | None, "Batch size, by default 1"),
            Option(
                "dtype",
                str | None,
                "float32, bfloat16 or float16; by default bfloat16 on GPUs, else float32",
            ),
            Option("compile", bool | None, "Whether to compile the subnets first"),
            Option(
                "name", str | None, "Name of the device in latency_ms@NAME, by default its kind"
            ),
            Option("rounds", int | None, "Timings of each subnet, by default 20"),
            Option("out", str | None, "File of the table, by default RUN/latency/NAME.yaml"),
        ),
        sections=("backbone", "space"),
    ),
    Command(
        "inspect",
        help="show the costs of a backbone, or the space of a config",
        description=(
            "Shows the costs of a backbone and whether it is supported; of a config also the size "
            "of the space, its range of MACs and the expected time. Examples: "
            "tokennas inspect --model deit_small_patch16_224; "
            "tokennas inspect configs/quickstart.yaml"
        ),
        usage="[CONFIG | --model NAME [--backbone.args.KEY VALUE ...]] [--section.key VALUE ...]",
        needs_config=False,
        options=(Option("model", str | None, "Name of a timm model, instead of a config"),),
        sections=("backbone", "data", "task", "space"),
    ),
)

COMMANDS: dict[str, Command] = {command.name: command for command in _ALL}
