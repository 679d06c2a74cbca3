"""Progress bars that fit narrow terminals."""

from __future__ import annotations

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column

BAR_WIDTH = 16


def progress_bar(console: Console, *, elapsed: bool = False) -> Progress:
    """Make a progress display: bar, count, time, and a text that fills the rest of the line.

    Disabled outside terminals, where even a transient bar would leave an empty line.

    Args:
        console: Console to print to.
        elapsed: Whether to show the elapsed time instead of the remaining one.

    Returns:
        The display; each task needs `add_task(..., state="")`, the text, which is cut to fit.
    """
    times: list[ProgressColumn] = [TimeElapsedColumn(table_column=Column(no_wrap=True))]
    if not elapsed:
        times = [TimeRemainingColumn(table_column=Column(no_wrap=True)), TextColumn("left")]
    return Progress(
        TextColumn("[bold]{task.description}"),
        BarColumn(BAR_WIDTH),
        MofNCompleteColumn(table_column=Column(no_wrap=True)),
        *times,
        # The only column that may be cut.
        TextColumn(
            "{task.fields[state]}", table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)
        ),
        console=console,
        transient=True,
        expand=True,
        disable=not console.is_terminal,
    )
