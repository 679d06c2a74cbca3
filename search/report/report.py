"""The report of a run: its plots, page and table."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from rich.console import Console

from search.report.network_table import NetworkTable, make_network_table, show_network_table
from search.report.plots import Plot, write_plots
from search.report.run_results import RunResults, read_run
from search.report.summary import describe_loading, summarise_run
from search.utils.console import new_console, print_line
from space.utils.atomic import make_folder
from space.utils.yaml_file import write_text

PAGE = "report.html"
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
    table = make_network_table(results.networks, results.score, results.test_score)
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
