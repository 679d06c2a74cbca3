"""Numbers and tables as people read them on a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from search.budget import quantity
from space.errors import printable

SHARES = ("top1", "top5")
COUNTS = ("trial",)


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= size * 1.5:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} seconds"


def passes(forward: float | None, of_alone: float | None) -> str:
    """What the time goes into, in a sentence; nothing where nobody knows."""
    if forward is None or of_alone is None:
        return ""
    return (
        f"forward passes are {forward:.0%} of the time, which is {of_alone:.2f} of what they would "
        "take one by one"
    )


def cell(name: str, value: object) -> str:
    """A value of that name: shares in per cent, large numbers short, nothing for None."""
    if not isinstance(value, int | float):
        return "" if value is None else printable(str(value))
    if name in SHARES or name.startswith(SHARES):
        return f"{100 * value:.2f}%"
    if name in COUNTS:
        return str(value)
    return quantity(value, 3) if abs(value) >= 1000 else f"{value:.4g}"


def show_rows(rows: Iterable[Mapping[str, Any]], console: Console, title: str = "") -> None:
    """Rows as a table, empty where one lacks a name; text stands left, numbers right."""
    listed = list(rows)
    names = dict.fromkeys(name for row in listed for name in row)
    table = Table(title=title or None, title_justify="left", box=None, pad_edge=False)
    for name in names:
        text = any(isinstance(row.get(name), str) for row in listed)
        table.add_column(escape(name), justify="left" if text else "right")
    for row in listed:
        table.add_row(*(escape(cell(name, row.get(name))) for name in names))
    console.print(table)
