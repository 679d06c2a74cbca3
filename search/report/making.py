"""`make_report`: pictures, a page and a table of what a run has found."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from search.report.contents import Contents, read_run
from search.report.facts import how_to_load, search_images, versions, what_was_run
from search.report.page import Page, write_page
from search.report.pictures import write_pictures
from search.report.table import final_table, show_table
from search.tables import new_console
from space.utils.atomic import make_folder
from space.utils.yaml_file import write_text

PAGE = "report.html"


def make_report(run: Path, name: str = "main", console: Console | None = None) -> Path:
    """Write the report of a run into `RUN/report/NAME/`, and print its table.

    What a run has not come to yet is left out, with a line that says so; the same call later gives
    the fuller report.

    Args:
        run: folder of the run.
        name: of the search.
        console: for the table; standard output by default.

    Returns:
        The page, which needs no other file.

    Raises:
        InputError: there is nothing to report, or a file is not right, in one line that names it.
    """
    run, console = Path(run), console or new_console()
    contents = read_run(run, name)
    folder = make_folder(run / "report" / name)
    final = None
    if contents.choices:
        images = search_images(contents)
        final = final_table(contents.choices, contents.score, contents.test, images)
    page = Page(
        title=f"Report of {_called(contents)}",
        subtitle=f"Made by tokennas from the search {name!r} and what was retrained of it.",
        facts=what_was_run(contents),
        final=final,
        pictures=write_pictures(contents, folder),
        load=how_to_load(contents),
        missing=contents.missing,
        versions=versions(),
    )
    write_text(folder / PAGE, write_page(page))
    if final is not None:
        show_table(final, _called(contents), contents.run, console)
    for line in contents.missing:
        console.print(line, highlight=False, markup=False, style="dim")
    console.print(f"report: {folder / PAGE}", highlight=False, markup=False, soft_wrap=True)
    return folder / PAGE


def _called(contents: Contents) -> str:
    return contents.run.resolve().name
