"""`make_report`: plots, a page and a table of what a run has found."""

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

    What a run has not come to yet is left out, with a line that says so; the same call later gives
    the fuller report.

    Args:
        run: Folder of the run.
        name: Name of the search.
        console: Where the table is printed; standard output by default.

    Returns:
        The page, which needs no other file.

    Raises:
        InputError: there is nothing to report, or a file is not right, in one line that names it.
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
