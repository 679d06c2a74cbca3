"""The progress bars of all long work; they fit narrow terminals."""

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
    """Bars with how much is done of how much, a time, and a text that takes the room left.

    Shown on terminals alone: elsewhere an empty bar would still leave an empty line.

    Args:
        console: where they are shown.
        elapsed: show the time since the start, for work whose text tells the time left.

    Returns:
        Bars whose tasks have a field `state`, the text; cut off where the terminal is too narrow.
    """
    time: list[ProgressColumn] = [TimeElapsedColumn(table_column=Column(no_wrap=True))]
    if not elapsed:
        time = [
            TimeRemainingColumn(table_column=Column(no_wrap=True)),
            TextColumn("left", table_column=Column(no_wrap=True)),
        ]
    return Progress(
        TextColumn("[bold]{task.description}", table_column=Column(no_wrap=True)),
        BarColumn(BAR_WIDTH),
        MofNCompleteColumn(table_column=Column(no_wrap=True)),
        *time,
        # The one column that may be cut: it has what the others leave.
        TextColumn(
            "{task.fields[state]}", table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)
        ),
        console=console,
        transient=True,
        expand=True,
        disable=not console.is_terminal,
    )
