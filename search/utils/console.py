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

# Printed with every search: the best of many noisy values is biased.
OPTIMISTIC = (
    "The front was chosen by its metrics on the search split, so they are optimistic; "
    "`tokennas retrain` and `tokennas evaluate` give those of the test split."
)
TITLES = {
    "macs": "MACs",
    "backbone_macs": "MACs without the head",
    "params": "parameters",
    "tokens": "patch tokens over all blocks",
    "activation_memory": "activation memory (bytes)",
}
# Columns that a narrow terminal drops first, in this order: these, the tasks' secondary metrics,
# those; and the number of leading ones that stay.
DROPPED_FIRST = (
    *("tokens", "activation_memory", "parameters without head", "params", "parameters"),
)
DROPPED_NEXT = ("weights", "trial", "of full without head", "of full", "without head", "images/s")
LEADING = 2
# Characters between columns, and the width at which text is folded into lines.
GAP, FOLDED = 2, 24
LONGEST_LINE = 10_000


def metric_title(name: str) -> str:
    """Return a metric's or cost's title for use in a sentence."""
    cost, at, device = name.partition("@")
    if cost == "latency_ms":
        return f"latency (ms a batch{f', on {device}' if at else ''})"
    metric = find_metric(name)
    return metric.title if metric is not None else TITLES.get(name, name)


def is_share(name: str) -> bool:
    """Return whether a metric, named by the first word of a column, is shown in per cent."""
    metric = find_metric(name.split(maxsplit=1)[0]) if name else None
    return metric is not None and metric.unit == "%"


def cell(name: str, value: object) -> str:
    """Format a value: shares in per cent, large numbers short, None as an empty text."""
    if not isinstance(value, int | float):
        return "" if value is None else printable(str(value))
    if is_share(name):
        return f"{100 * value:.2f}%"
    if name == "trial":
        return str(value)
    return quantity(value, 3) if abs(value) >= 1000 else f"{value:.4g}"


def new_console() -> Console:
    """Open a console on standard output, without wrapping if it is not a terminal."""
    console = Console()
    return console if console.is_terminal else Console(width=LONGEST_LINE)


def print_line(console: Console, line: str) -> None:
    """Print text without wrapping or markup, so that it can be copied."""
    console.print(line, markup=False, highlight=False, soft_wrap=True)


class Column(NamedTuple):
    """A column of a table.

    Args:
        title: Heading.
        cells: Text of each row.
        text: Whether the cells are words, which are aligned left and folded if long.
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
    """Print rows as a table, with empty cells for missing values."""
    rows = list(rows)
    names = dict.fromkeys(name for row in rows for name in row)
    columns = [
        Column(
            name,
            [cell(name, row.get(name)) for row in rows],
            any(isinstance(row.get(name), str) for row in rows),
        )
        for name in names
    ]
    show_columns(columns, console, title)


def show_columns(columns: Sequence[Column], console: Console, title: str = "") -> None:
    """Print a table; a narrow console drops the least important columns."""
    kept = _fit_columns(columns, console.width)
    table = Table(title=escape(title) or None, title_justify="left", box=None, pad_edge=False)
    for column in kept:
        # Numbers are never wrapped.
        table.add_column(
            escape(column.title),
            justify="left" if column.text else "right",
            no_wrap=not column.text,
            overflow="fold",
        )
    for row in zip(*(column.cells for column in kept), strict=True):
        table.add_row(*map(escape, row))
    console.print(table, highlight=False)
    if dropped := [column.title for column in columns if column not in kept]:
        line = f"left out in a narrow terminal: {', '.join(dropped)}"
        console.print(line, highlight=False, markup=False, style="dim")


def _fit_columns(columns: Sequence[Column], width: int) -> list[Column]:
    """Drop columns until the others fit: the least wanted first, then from the right."""
    kept = list(columns)
    metrics = [name for each in secondary_metrics() for name in (each.name, each.title)]
    names = dict.fromkeys((*DROPPED_FIRST, *metrics, *DROPPED_NEXT))
    order = [column for name in names for column in columns if column.title == name]
    order += [column for column in reversed(columns[LEADING:]) if column.title not in names]
    for column in order:
        if sum(each.width + GAP for each in kept) - GAP <= width:
            break
        kept.remove(column)
    return kept
