"""The report of a run: its page, plots and table."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from rich.console import Console

from search.front.front import Front
from search.pipeline.run_folder import section
from search.problem.paired_error import describe_leads
from search.report.network_table import NetworkTable, make_network_table, show_network_table
from search.report.plots import Plot, write_plots
from search.report.retrain_advice import format_command
from search.report.run_results import RunResults, read_run
from search.report.search_result import SearchResult
from search.utils.console import new_console, print_line
from search.utils.units import quantity
from space.arch import Arch
from space.cost import macs, params
from space.space import SearchSpace
from space.utils.atomic import make_folder
from space.utils.errors import InputError
from space.utils.yaml_file import write_text
from supernet.tasks.registry import DEFAULT_TASK

PAGE = "report.html"
# Items of a list of options, such as the names of classes, that the page shows.
LONGEST_LIST = 20
TEMPLATE = Path(__file__).with_name("page.html.jinja")


def make_report(run: Path, name: str = "main", console: Console | None = None) -> Path:
    """Write the report of a run into `RUN/report/NAME/`, and print its table.

    Stages that have not run yet are left out, with a line on each.

    Args:
        run: Folder of the run.
        name: Name of the search.
        console: Console for the table; standard output by default.

    Returns:
        The path of the self-contained page.

    Raises:
        InputError: There is nothing to report, or a file is invalid.
    """
    run, console = Path(run), console or new_console()
    results = read_run(run, name)
    folder = make_folder(run / "report" / name)
    first, *others = results.test_scores
    search = results.search
    space, full = (None, {}) if search is None else (search.space, search.front.full)
    table = make_network_table(
        results.networks, results.score, first, others, space=space, full=full
    )
    plots = write_plots(results, folder)
    write_text(folder / PAGE, _render_page(results, table, plots))
    if results.networks:
        show_network_table(table, results.title, run, console)
    for line in results.missing:
        console.print(line, highlight=False, markup=False, style="dim")
    print_line(console, f"report: {folder / PAGE}")
    return folder / PAGE


def _render_page(results: RunResults, table: NetworkTable, plots: Sequence[Plot]) -> str:
    """Render the report as one self-contained HTML page."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["base64"] = lambda data: base64.b64encode(data).decode()
    page = environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        results=results,
        summary=summarise_run(results),
        table=table,
        plots=plots,
        loading=describe_loading(results),
    )
    return f"{page}\n"


def summarise_run(results: RunResults) -> list[tuple[str, str]]:
    """Summarise backbone, data, space, training and search as pairs of name and text."""
    search = results.search
    test_images = next((each.test_images for each in results.networks if each.test_images), None)
    splits = {"search": search and search.front.images, "test": test_images}
    images = [f"{count:,} in the {name} split" for name, count in splits.items() if count]
    lines = [
        ("backbone", _describe_backbone(results)),
        ("task", _describe_task(results)),
        ("data", _describe_data(results.config)),
        ("images", ", ".join(images)),
        ("space", "" if search is None or search.space is None else _describe_space(search.space)),
        ("supernet", f"{len(results.training)} epochs" if results.training else ""),
    ]
    if search is not None:
        failed = f", {search.front.failed} failed" if search.front.failed else ""
        sampler = f" by {search.sampler}" if search.sampler else ""
        names = ", ".join(f"{each.name} ({each.direction})" for each in search.front.objectives)
        lines += [
            ("search", f"{search.front.evaluations:,} evaluations{failed}{sampler}, for {names}"),
            ("budget", ", ".join(_describe_limits(search)) or "none"),
            ("front", _describe_front(search.front)),
        ]
    if results.config:
        # The path to an absolute folder would be another one elsewhere.
        run = results.title if results.run.is_absolute() else str(results.run)
        lines.append(("command", format_command("run", run, results.name)))
    return [(name, text) for name, text in lines if text]


def describe_loading(results: RunResults) -> str:
    """Return Python code that loads the largest subnet with a file, if any."""
    with_file = [each for each in results.networks if each.file is not None]
    if not with_file:
        return ""
    chosen = min(with_file, key=lambda each: (each.is_full, each.is_control, -each.macs))
    weights = f', weights="{chosen.weights}"' if chosen.weights else ""
    return (
        f"# in the folder of the run, {results.run.name}/\n"
        "from supernet import create_subnet\n"
        f'subnet = create_subnet("{chosen.file}"{weights}).eval()   # {chosen.label}'
    )


def _describe_backbone(results: RunResults) -> str:
    backbone = section(results.config, "backbone")
    words = [str(backbone["model"])] if "model" in backbone else []
    words += [f"{name}={value}" for name, value in section(backbone, "args").items()]
    shapes = [each.shape for each in results.networks]
    if results.search is not None:
        shapes.append(results.search.front.shape)
    if shapes:
        shape = shapes[-1]
        full = Arch.full(shape.depth)
        words.append(
            f"{shape.depth} blocks, {shape.grid[0]} x {shape.grid[1]} patch tokens of "
            f"{shape.width} channels, {quantity(macs(full, shape))} MACs, "
            f"{quantity(params(full, shape))} parameters"
        )
    return ", ".join(words)


def _describe_task(results: RunResults) -> str:
    """Describe the task and its options, with the defaults where a network's file has them."""
    stored = next((each.task for each in results.networks if each.task), {})
    options = {**section(results.config, "task"), **stored}
    name = options.pop("name", DEFAULT_TASK if results.config else "")
    return ", ".join([str(name), *_describe_options(options)])


def _describe_options(options: Mapping[str, Any]) -> Iterator[str]:
    for name, value in options.items():
        if isinstance(value, Mapping):
            yield f"{name}: {' '.join(_describe_options(value))}"
        elif isinstance(value, list | tuple):
            words = list(map(str, value[:LONGEST_LIST]))
            rest = len(value) - len(words)
            yield f"{name}={', '.join(words)}" + f" and {rest} more" * bool(rest)
        elif isinstance(value, bool):
            yield f"{name}={str(value).lower()}"
        elif value is not None:
            yield f"{name}={value}"


def _describe_data(config: Mapping[str, Any]) -> str:
    dataset = section(section(config, "data"), "dataset")
    return " ".join(str(dataset[key]) for key in ("name", "root") if dataset.get(key))


def _describe_space(space: SearchSpace) -> str:
    choices = ", ".join(sorted(space.axes)) or "no choices"
    rules = f"; rules {', '.join(space.rules.names)}" if space.rules else ""
    return f"{space.size():,} distinct archs ({choices}{rules})"


def _describe_limits(search: SearchResult) -> Iterator[str]:
    for name, limit in search.limits.items():
        floor = search.floors.get(name, 0.0)
        text = f"{name} {_bound(search.front, name)} {quantity(limit)}"
        if floor:
            text = f"{name} {quantity(floor)} to {quantity(limit)}"
        if full := search.front.full.get(name):
            flops = f", {quantity(2 * limit)} FLOPs" if name == "macs" else ""
            least = f"{floor / full:.0%} to " if floor else ""
            text += f" ({least}{limit / full:.0%} of the full network{flops})"
        yield text


def _bound(front: Front, name: str) -> str:
    try:
        return "at most" if front.direction(name) == "min" else "at least"
    except InputError:
        # Unfinished searches of earlier versions did not store directions.
        return "within"


def _describe_front(front: Front) -> str:
    """Describe the number of subnets, and which leads are significant."""
    ended = f": {front.ended}" if front.ended else ""
    leads = f" {describe_leads(front.leads)}" if any(front.leads) else ""
    return f"{len(front)} subnets{ended}.{leads}"
