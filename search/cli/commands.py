"""The subcommands: their names, help texts and options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Option:
    """An option of one subcommand that is no value of the config."""

    name: str
    type: Any
    help: str


@dataclass(frozen=True)
class Command:
    """A subcommand.

    Args:
        name: Name on the command line.
        help: Line in the list of commands.
        teaches: Text of its own --help, with an example.
        usage: Usage line after the name.
        needs_config: Whether it requires a config.
        needs_torch: Whether it runs networks. Others read only the names of run and search from a
            config.
        options: Its own options.
        sections: Sections of the config that its help shows.
        short: Shorthands, and the config's options that they stand for.
    """

    name: str
    help: str
    teaches: str
    usage: str = "CONFIG [--section.key VALUE ...]"
    needs_config: bool = True
    needs_torch: bool = True
    options: tuple[Option, ...] = ()
    sections: tuple[str, ...] = ()
    short: Mapping[str, str] = field(default_factory=dict)


ARCH_FILES = "arch files, front.yaml files or folders of them"
ARCHS = Option("archs", list[str] | None, f"{ARCH_FILES}, instead of the front's")

_ALL = (
    Command(
        "run",
        help="train, search, export, retrain, report: the whole way",
        teaches=(
            "Does all stages of a config and goes on where it stopped. "
            "Example: tokennas run configs/quickstart.yaml"
        ),
        sections=("backbone", "data", "task", "space", "supernet", "search", "export", "retrain"),
    ),
    Command(
        "train",
        help="train the supernet of a config",
        teaches=(
            "Trains one set of weights for every arch of the space. The same command goes on where "
            "it stopped. Example: tokennas train configs/quickstart.yaml --supernet.epochs 20"
        ),
        sections=("backbone", "data", "task", "space", "supernet"),
    ),
    Command(
        "search",
        help="search the space on the trained supernet",
        teaches=(
            "Finds the archs that trade the objectives best, inside a budget. The same command "
            "goes on where it stopped; another budget is a search of its own. Example: "
            "tokennas search configs/quickstart.yaml --search.name half --search.budget macs=50%"
        ),
        sections=("search",),
    ),
    Command(
        "status",
        help="how far a search is, also one that runs in another shell",
        teaches=(
            "Shows what a search of a config is at: evaluations done, their rate, the best so far, "
            "workers alive, archs being evaluated. "
            "Example: tokennas status configs/quickstart.yaml --search.name main"
        ),
        needs_torch=False,
        sections=("search.name",),
    ),
    Command(
        "export",
        help="write the front's archs as YAML, and subnets as files that run anywhere",
        teaches=(
            "Writes one arch file for each point of the front; with a format also a folder for "
            "each subnet, or for each given arch file: weights, classes, preprocessing and a model "
            "card. Every file is run on images and compared with the subnet before it is there. "
            "Example: tokennas export configs/quickstart.yaml --format onnx --archs a.yaml b.yaml"
        ),
        usage="CONFIG [--archs FILE ...] [--format FORMAT ...] [--section.key VALUE ...]",
        options=(ARCHS,),
        sections=("search.name", "export"),
        short={"--format": "--export.format"},
    ),
    Command(
        "retrain",
        help="retrain chosen subnets and the full network",
        teaches=(
            "Retrains the front's best within each budget, or given arch files, and the full "
            "network by the same recipe. Example: "
            "tokennas retrain configs/quickstart.yaml --retrain.budgets '[60%, 40%]'"
        ),
        options=(ARCHS,),
        sections=("search.name", "retrain"),
    ),
    Command(
        "evaluate",
        help="judge arch files on the test split",
        teaches=(
            "Gives accuracy on the test split, MACs, parameters and images/s of arch files. "
            "Example: tokennas evaluate configs/quickstart.yaml --archs a.yaml b.yaml"
        ),
        options=(Option("archs", list[str] | None, f"{ARCH_FILES}; needed"),),
        sections=("data",),
    ),
    Command(
        "report",
        help="draw what a run found: tables, pictures, one page",
        teaches=(
            "Writes pictures and one self-contained report.html of whatever a run's folder holds. "
            "Example: tokennas report configs/quickstart.yaml"
        ),
        needs_torch=False,
        sections=("search.name",),
    ),
    Command(
        "profile",
        help="measure latency on a device: a table that budgets in milliseconds rest on",
        teaches=(
            "Times subnets of a config's space on this machine, side by side, and fits a latency "
            "table to them: a small YAML, which may be carried to where the search runs. Neither "
            "training nor data are needed. Examples: "
            "tokennas profile configs/quickstart.yaml --batch 64; "
            "tokennas search configs/quickstart.yaml --search.budget latency_ms=60%"
        ),
        options=(
            Option("batch", int | None, "images at once, by default 1"),
            Option(
                "dtype",
                str | None,
                "float32, bfloat16 or float16; by default bfloat16 on GPUs, else float32",
            ),
            Option("compile", bool | None, "whether subnets are compiled first: true or false"),
            Option("name", str | None, "of the device, as in latency_ms@NAME; by default its kind"),
            Option("rounds", int | None, "how often each subnet is timed, by default 20"),
            Option("out", str | None, "the table's file; by default RUN/latency/NAME.yaml"),
        ),
        sections=("backbone", "space"),
    ),
    Command(
        "inspect",
        help="show a backbone, or the space of a config, before anything runs",
        teaches=(
            "Shows what a backbone costs and whether it can be served, and of a config the size of "
            "the space, its range of MACs and the time to expect. Examples: "
            "tokennas inspect --model deit_small_patch16_224; "
            "tokennas inspect configs/quickstart.yaml"
        ),
        usage="[CONFIG | --model NAME [--backbone.args.KEY VALUE ...]] [--section.key VALUE ...]",
        needs_config=False,
        options=(Option("model", str | None, "a timm model, where no config is given"),),
        sections=("backbone", "data", "task", "space"),
    ),
)

COMMANDS: dict[str, Command] = {command.name: command for command in _ALL}
