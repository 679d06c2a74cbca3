"""Numbers and tables as people read them on a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from search.utils.units import quantity
from space.utils.errors import printable
from supernet.tasks.registry import find_metric

# Of any search: the best of many noisy figures is too good.
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
# Columns that a narrow terminal can do without, the first ones first, and how many stay anyway.
SPARE = (
    *("tokens", "activation_memory", "params", "parameters", "top5", "kl", "weights", "trial"),
    *("of full", "images/s"),
)
KEPT = 2
# Characters between columns, and from which on a text is folded into lines.
GAP, FOLDED = 2, 24
LONGEST_LINE = 10_000
COUNTS = ("trial",)


def metric_title(name: str) -> str:
    """A metric's or a cost's name as it stands in a sentence."""
    cost, at, device = name.partition("@")
    if cost == "latency_ms":
        return f"latency (ms a batch{f', on {device}' if at else ''})"
    metric = find_metric(name)
    return metric.title if metric is not None else TITLES.get(name, name)


def is_share(name: str) -> bool:
    """Whether values of that name, or of one that begins with it, are shown in per cent."""
    metric = find_metric(name.split(maxsplit=1)[0]) if name else None
    return metric is not None and metric.is_share


def cell(name: str, value: object) -> str:
    """A value of that name: shares in per cent, large numbers short, nothing for None."""
    if not isinstance(value, int | float):
        return "" if value is None else printable(str(value))
    if is_share(name):
        return f"{100 * value:.2f}%"
    if name in COUNTS:
        return str(value)
    return quantity(value, 3) if abs(value) >= 1000 else f"{value:.4g}"


def new_console() -> Console:
    """Standard output; where it is no terminal, lines of any length: a log has no edge."""
    console = Console()
    return console if console.is_terminal else Console(width=LONGEST_LINE)


def print_line(console: Console, line: str) -> None:
    """Print text as it is, in one line that may be copied whole."""
    console.print(line, markup=False, highlight=False, soft_wrap=True)


class Column(NamedTuple):
    """A column of a table.

    Args:
        title: heading.
        cells: one text for each row.
        text: whether it reads from the left, and may be folded.
    """

    title: str
    cells: list[str]
    text: bool = False

    @property
    def width(self) -> int:
        """Characters that it takes at least."""
        longest = max(map(cell_len, (self.title, *self.cells)))
        return min(longest, FOLDED) if self.text else longest


def show_rows(rows: Iterable[Mapping[str, Any]], console: Console, title: str = "") -> None:
    """Rows as a table, empty where one lacks a name; text stands left, numbers right."""
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
    """A table; where the console is too narrow, without the columns that are wanted least."""
    kept = _fitting(columns, console.width)
    table = Table(title=escape(title) or None, title_justify="left", box=None, pad_edge=False)
    for column in kept:
        side: Literal["left", "right"] = "left" if column.text else "right"
        # Whatever else happens, no number is cut.
        table.add_column(
            escape(column.title), justify=side, no_wrap=not column.text, overflow="fold"
        )
    for row in zip(*(column.cells for column in kept), strict=True):
        table.add_row(*map(escape, row))
    console.print(table, highlight=False)
    if dropped := [each.title for each in columns if each not in kept]:
        line = f"left out, for a wider terminal or a file: {', '.join(dropped)}"
        console.print(line, highlight=False, markup=False, style="dim")


def _fitting(columns: Sequence[Column], width: int) -> list[Column]:
    """The columns without as many as it takes: the spare ones first, then from the right."""
    kept = list(columns)
    spare = [each for name in SPARE for each in columns if each.title == name]
    spare += [each for each in reversed(columns[KEPT:]) if each.title not in SPARE]
    for each in spare:
        if sum(column.width + GAP for column in kept) - GAP <= width:
            break
        kept.remove(each)
    return kept
