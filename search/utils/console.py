"""Numbers and tables as people read them on a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from search.utils.units import quantity
from space.utils.errors import printable
from supernet.tasks.registry import find_metric, secondary_metrics

# Shown with every search: the best of many noisy metrics is biased.
OPTIMISTIC = (
    "The front was chosen by its figures on the search split, so they are optimistic; "
    "`tokennas retrain` and `tokennas evaluate` give those of the test split."
)
TITLES = {
    "macs": "MACs",
    "params": "parameters",
    "tokens": "patch tokens over all blocks",
    "activation_memory": "activation memory (bytes)",
}
# Columns that a narrow terminal drops, in this order, before and after the tasks' secondary
# metrics, and how many leading ones always stay.
SPARE = ("tokens", "activation_memory", "params", "parameters")
SPARE_AFTER = ("weights", "trial", "of full", "images/s")
KEPT = 2
# Characters between columns, and the width at which text is folded into lines.
GAP, FOLDED = 2, 24
LONGEST_LINE = 10_000
COUNTS = ("trial",)


def metric_title(name: str) -> str:
    """Return a metric's or cost's title for use in a sentence."""
    cost, at, device = name.partition("@")
    if cost == "latency_ms":
        return f"latency (ms a batch{f', on {device}' if at else ''})"
    metric = find_metric(name)
    return metric.title if metric is not None else TITLES.get(name, name)


def is_share(name: str) -> bool:
    """Return whether values of this name, or of one that starts with it, are shown in per cent."""
    metric = find_metric(name.split(maxsplit=1)[0]) if name else None
    return metric is not None and metric.is_share


def cell(name: str, value: object) -> str:
    """Format a value: shares in per cent, large numbers short, None as nothing."""
    if not isinstance(value, int | float):
        return "" if value is None else printable(str(value))
    if is_share(name):
        return f"{100 * value:.2f}%"
    if name in COUNTS:
        return str(value)
    return quantity(value, 3) if abs(value) >= 1000 else f"{value:.4g}"


def new_console() -> Console:
    """Open standard output; where it is no terminal, with lines of any length, for logs."""
    console = Console()
    return console if console.is_terminal else Console(width=LONGEST_LINE)


def print_line(console: Console, line: str) -> None:
    """Print text without wrapping or markup, so that it can be copied."""
    console.print(line, markup=False, highlight=False, soft_wrap=True)


class Column(NamedTuple):
    """A column of a table.

    Args:
        title: Heading.
        cells: One text for each row.
        text: Whether the column is text: aligned left, and folded if long.
    """

    title: str
    cells: list[str]
    text: bool = False

    @property
    def width(self) -> int:
        """Minimum width in characters."""
        longest = max(map(cell_len, (self.title, *self.cells)))
        return min(longest, FOLDED) if self.text else longest


def show_rows(rows: Iterable[Mapping[str, Any]], console: Console, title: str = "") -> None:
    """Print rows as a table, with empty cells for missing names."""
    listed = list(rows)
    names = dict.fromkeys(name for row in listed for name in row)
    columns = [
        Column(
            name,
            [cell(name, row.get(name)) for row in listed],
            any(isinstance(row.get(name), str) for row in listed),
        )
        for name in names
    ]
    show_columns(columns, console, title)


def show_columns(columns: Sequence[Column], console: Console, title: str = "") -> None:
    """Print a table; a narrow console drops the least wanted columns."""
    kept = _fitting(columns, console.width)
    table = Table(title=escape(title) or None, title_justify="left", box=None, pad_edge=False)
    for column in kept:
        # Numbers are never cut.
        table.add_column(
            escape(column.title),
            justify="left" if column.text else "right",
            no_wrap=not column.text,
            overflow="fold",
        )
    for row in zip(*(column.cells for column in kept), strict=True):
        table.add_row(*map(escape, row))
    console.print(table, highlight=False)
    if dropped := [each.title for each in columns if each not in kept]:
        line = f"left out, for a wider terminal or a file: {', '.join(dropped)}"
        console.print(line, highlight=False, markup=False, style="dim")


def _fitting(columns: Sequence[Column], width: int) -> list[Column]:
    """Drop columns until the rest fits: the spare ones first, then from the right."""
    kept = list(columns)
    order = [*SPARE, *secondary_metrics(), *SPARE_AFTER]
    spare = [each for name in order for each in columns if each.title == name]
    spare += [each for each in reversed(columns[KEPT:]) if each.title not in order]
    for each in spare:
        if sum(column.width + GAP for column in kept) - GAP <= width:
            break
        kept.remove(each)
    return kept
