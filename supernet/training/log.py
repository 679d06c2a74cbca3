"""The training log: a table and a progress bar, JSON lines, TensorBoard where installed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.markup import escape

from space.utils.atomic import file_errors
from space.utils.yaml_file import write_text
from supernet.progress import progress_bar

Row = dict[str, Any]


class Cell(NamedTuple):
    """A formatted value of a row, with the group and the name of its column."""

    group: str
    name: str
    value: str

    @property
    def column(self) -> tuple[str, str]:
        return self.group, self.name

    @property
    def width(self) -> int:
        return max(len(self.name), len(self.value), 5) + 2


class TrainingLog:
    """The log of a training, one row per epoch.

    Args:
        folder: Folder of `log.jsonl` and TensorBoard's events; None writes none.
        title: Title of the table.
        legend: Meaning of the columns, printed once.
        quiet: Whether to print nothing.
        units: Units of the metric groups to print besides the losses, by group.
    """

    def __init__(
        self,
        folder: Path | None,
        title: str,
        legend: str = "",
        quiet: bool = False,
        units: Mapping[str, str] | None = None,
    ) -> None:
        self.path = None if folder is None else folder / "log.jsonl"
        # File names may look like rich's markup.
        self.title = escape(title)
        self.legend = legend
        self.units = units or {}
        self.console = Console(stderr=True, quiet=quiet)
        self._columns: list[tuple[str, str]] = []
        self._order: list[tuple[str, str]] = []
        self._tensorboard: Any = None
        if folder is not None and find_spec("tensorboard") is not None:
            from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - optional

            self._tensorboard = SummaryWriter(str(folder / "tensorboard"))

    def drop_rows(self, epoch: int) -> None:
        """Drop the rows from `epoch` on, which were never checkpointed."""
        if self.path is not None and self.path.exists():
            lines = self.path.read_text(encoding="utf-8", errors="replace").splitlines()
            write_text(self.path, "".join(f"{line}\n" for line in lines[:epoch]))

    def add(self, row: Row) -> None:
        """Store and print the row of an epoch."""
        if self.path is not None:
            with file_errors(self.path), self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
        if self._tensorboard is not None:
            for name, value in row.items():
                self._tensorboard.add_scalar(name, value, row["epoch"])
        cells = self._arrange(_format_row(row, self.units))
        shown = _fit_cells(cells, self.console.width) if self.console.is_terminal else cells
        columns = [cell.column for cell in shown]
        if columns != self._columns:
            if not self._columns and self.legend:
                self._print(f"[dim]{self.legend}[/]")
            self._print(f"[bold]{self.title}[/]\n{_join_headings(shown)}")
            if dropped := [cell.name for cell in cells if cell not in shown]:
                names = ", ".join(dropped)
                self._print(f"[dim]left out, for a wider terminal or a log: {names}[/]")
            self._columns = columns
        self._print(_join_values(shown))

    def _arrange(self, cells: list[Cell]) -> list[Cell]:
        """Arrange cells in the order of earlier rows, a new column behind the last of its group.

        Columns that a row lacks are empty: a loss of a few steps may be absent in an epoch.
        """
        epoch, *middle, speed = cells
        by_column = {cell.column: cell for cell in middle}
        self._order = list(dict.fromkeys([*self._order, *by_column]))
        groups = list(dict.fromkeys(group for group, _ in self._order))
        self._order.sort(key=lambda column: groups.index(column[0]))
        shown = (by_column.get(column, Cell(*column, "")) for column in self._order)
        return [epoch, *shown, speed]

    def print_lines(self, *lines: str) -> None:
        """Print messages between the rows."""
        for line in lines:
            self._print(escape(line))

    def _print(self, text: str) -> None:
        # On a terminal rich wraps at words; log files are not wrapped.
        self.console.print(text, highlight=False, soft_wrap=not self.console.is_terminal)

    @contextmanager
    def show_progress(self, total: int, done: int) -> Iterator[Any]:
        """Show a progress bar over all steps; yield a function that advances it with a text."""
        with progress_bar(self.console) as bar:
            task = bar.add_task(self.title, total=total, completed=done, state="")
            yield lambda state: bar.update(task, advance=1, state=state)


def _format_row(row: Row, units: Mapping[str, str]) -> list[Cell]:
    cells = [Cell("", "epoch", str(row["epoch"] + 1))]
    for key, value in row.items():
        group, _, name = key.partition("/")
        if group == "loss":
            cells.append(Cell(group, name, f"{value:.3f}"))
        elif key == "grad_norm":
            cells.append(Cell("grad", "norm", f"{value:.2f}"))
        elif group in units:
            unit = units[group]
            text = f"{100 * value:.1f}" if unit == "%" else f"{value:.4g}"
            cells.append(Cell(f"{group} {unit}".rstrip(), name, text))
    return [*cells, Cell("", "images/s", f"{row['images_per_second']:.0f}")]


def _fit_cells(cells: list[Cell], width: int) -> list[Cell]:
    """Drop cells until the rest fit into `width` without wrapping."""
    kept = list(cells)
    metrics = list(dict.fromkeys(c.group for c in cells if c.group not in ("", "loss", "grad")))
    # The operators' metrics are dropped first, the task's own metric last.
    for group in (*reversed(metrics[1:]), "loss", "grad", *metrics[:1]):
        for cell in reversed([each for each in cells if each.group == group]):
            if len(_join_values(kept)) > width:
                kept.remove(cell)
    return kept


def _join_headings(cells: list[Cell]) -> str:
    """Format two header lines: the groups, each over its first column, and the column names."""
    groups, names, last = "", "", ""
    for cell in cells:
        groups += (cell.group if cell.group != last else "").ljust(cell.width)
        names += cell.name.rjust(cell.width - 2) + "  "
        last = cell.group
    return f"{groups.rstrip()}\n{names.rstrip()}"


def _join_values(cells: list[Cell]) -> str:
    return "".join(cell.value.rjust(cell.width - 2) + "  " for cell in cells).rstrip()
