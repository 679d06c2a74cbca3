"""`make_report`: the plots, the page and the table of a run."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from search.report.network_table import make_network_table, show_network_table
from search.report.page import render_page
from search.report.plots import write_plots
from search.report.run_results import read_run
from search.utils.console import new_console
from space.utils.atomic import make_folder
from space.utils.yaml_file import write_text

PAGE = "report.html"


def make_report(run: Path, name: str = "main", console: Console | None = None) -> Path:
    """Write the report of a run into `RUN/report/NAME/`, and print its table.

    Stages that have not run yet are left out, with a line that says so.

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
    table = None
    if results.networks:
        images = results.search_images
        table = make_network_table(results.networks, results.score, results.test_score, images)
    pictures = write_plots(results, folder)
    write_text(folder / PAGE, render_page(results, table, pictures))
    if table is not None:
        show_network_table(table, results.title, run, console)
    for line in results.missing:
        console.print(line, highlight=False, markup=False, style="dim")
    console.print(f"report: {folder / PAGE}", highlight=False, markup=False, soft_wrap=True)
    return folder / PAGE
