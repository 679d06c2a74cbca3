"""The training log: a table and a progress bar, JSON lines, TensorBoard where installed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from space.utils.atomic import writing
from space.utils.yaml_file import write_text
from supernet.progress import progress_bar

Row = dict[str, Any]
Cell = tuple[str, str, str]


class Journal:
    """The log of a training, one row per epoch.

    Args:
        folder: Folder of `log.jsonl` and TensorBoard's events; None keeps rows in memory.
        title: Title of the table.
        legend: Meaning of the columns, printed once.
        quiet: Whether to print nothing.
        figures: Units of the metric groups to print beside the losses, by group.
    """

    def __init__(
        self,
        folder: Path | None,
        title: str,
        legend: str = "",
        quiet: bool = False,
        figures: Mapping[str, str] | None = None,
    ) -> None:
        self.path = None if folder is None else folder / "log.jsonl"
        # File names may look like rich's markup.
        self.title = escape(title)
        self.legend = legend
        self.figures = figures or {}
        self.console = Console(stderr=True, quiet=quiet)
        self.rows: list[Row] = []
        self._columns: list[tuple[str, str]] = []
        self._board = _tensorboard(folder)

    def restore(self, epoch: int) -> None:
        """Read the rows of the epochs before `epoch`; later ones were never checkpointed."""
        if self.path is not None and self.path.exists():
            lines = self.path.read_text(encoding="utf-8", errors="replace").splitlines()
            self.rows = [row for row in map(_parse, lines) if row and row["epoch"] < epoch]
            write_text(self.path, "".join(map(_line, self.rows)))

    def add(self, row: Row) -> None:
        """Store and print the row of an epoch."""
        self.rows.append(row)
        if self.path is not None:
            with writing(self.path), self.path.open("a", encoding="utf-8") as file:
                file.write(_line(row))
        whole = shown = _shown(row, self.figures)
        if self.console.is_terminal:
            shown = _fitting(whole, self.console.width)
        columns = [(group, name) for group, name, _ in shown]
        if columns != self._columns:
            if not self._columns and self.legend:
                self._print(f"[dim]{self.legend}[/]")
            self._print(f"[bold]{self.title}[/]\n{_heading(shown)}")
            if dropped := [name for group, name, _ in whole if (group, name) not in columns]:
                self._print(
                    f"[dim]left out, for a wider terminal or a log: {', '.join(dropped)}[/]"
                )
            self._columns = columns
        self._print(_cells(shown))
        if self._board is not None:
            for name, value in row.items():
                self._board.add_scalar(name, value, row["epoch"])

    def note(self, *lines: str) -> None:
        """Print messages between the rows."""
        for line in lines:
            self._print(escape(line))

    def _print(self, text: str) -> None:
        # On a terminal rich wraps at words; log files are not wrapped.
        self.console.print(text, highlight=False, soft_wrap=not self.console.is_terminal)

    @contextmanager
    def progress(self, total: int, done: int) -> Iterator[Any]:
        """Show a progress bar over all steps; yields a function that advances it with a text."""
        with progress_bar(self.console) as bar:
            task = bar.add_task(self.title, total=total, completed=done, state="")
            yield lambda state: bar.update(task, advance=1, state=state)


def _line(row: Row) -> str:
    return json.dumps(row) + "\n"


def _parse(line: str) -> Row | None:
    """Parse a row; None for a line that was cut off."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) and isinstance(row.get("epoch"), int) else None


def _shown(row: Row, figures: Mapping[str, str]) -> list[Cell]:
    """Return the columns to print of a row: group, name and value of each."""
    found = [("", "epoch", str(row["epoch"] + 1))]
    for key, value in row.items():
        group, _, name = key.partition("/")
        if group == "loss":
            found.append((group, name, f"{value:.3f}"))
        elif key == "grad_norm":
            found.append(("grad", "norm", f"{value:.2f}"))
        elif group in figures:
            unit = figures[group]
            text = f"{100 * value:.1f}" if unit == "%" else f"{value:.4g}"
            found.append((f"{group} {unit}".rstrip(), name, text))
    return [*found, ("", "images/s", f"{row['images_per_second']:.0f}")]


def _fitting(shown: list[Cell], width: int) -> list[Cell]:
    """Drop columns until the rest fit into `width` without wrapping."""
    kept = list(shown)
    groups = list(
        dict.fromkeys(group for group, _, _ in shown if group not in ("", "loss", "grad"))
    )
    # The operators' metrics are dropped first, the task's own metric last.
    for spare in (*reversed(groups[1:]), "loss", "grad", *groups[:1]):
        for each in reversed([each for each in shown if each[0] == spare]):
            if len(_cells(kept)) > width:
                kept.remove(each)
    return kept


def _heading(shown: list[Cell]) -> str:
    """Format two header lines: the groups, each over its first column, and the column names."""
    groups, names, last = "", "", ""
    for group, name, value in shown:
        width = _width(name, value)
        groups += (group if group != last else "").ljust(width)
        names += name.rjust(width - 2) + "  "
        last = group
    return f"{groups.rstrip()}\n{names.rstrip()}"


def _cells(shown: list[Cell]) -> str:
    cells = (value.rjust(_width(name, value) - 2) + "  " for _, name, value in shown)
    return "".join(cells).rstrip()


def _width(name: str, value: str) -> int:
    return max(len(name), len(value), 5) + 2


def _tensorboard(folder: Path | None) -> Any:
    if folder is None or find_spec("tensorboard") is None:
        return None
    from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - optional

    return SummaryWriter(str(folder / "tensorboard"))
