"""The final table: one row for each network, the same on the terminal and on the page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from search.budget import quantity
from search.folder import changes
from search.report.choices import Choice
from search.report.measures import Score
from search.tables import OPTIMISTIC, Column, show_columns

FILE = "file"


class Final(NamedTuple):
    """The table, with what stands beneath it."""

    columns: list[Column]
    notes: list[str]

    @property
    def rows(self) -> list[tuple[str, ...]]:
        return list(zip(*(column.cells for column in self.columns), strict=True))


def final_table(
    choices: Sequence[Choice], score: Score, test: Score, images: int | None = None
) -> Final:
    """The table of the chosen networks; columns that nothing is known for are left out.

    Args:
        choices: the networks.
        score: what searches rank by, on the search split.
        test: what test figures are of.
        images: of the search split; None where nothing says.
    """
    devices = sorted({each.speed_of for each in choices if each.speed_of})
    columns = [
        Column("network", [_name(each) for each in choices], text=True),
        Column("MACs", [quantity(each.macs) for each in choices]),
        Column("of full", [f"{each.of_full:.0%}" for each in choices]),
        Column("parameters", [quantity(each.params) for each in choices]),
        Column(f"{_short(score)}, search split", [_of(each.search, score) for each in choices]),
        Column("inherited", [_of(each.inherited, test) for each in choices]),
        Column("retrained", [_of(each.retrained, test) for each in choices]),
        Column("images/s", [_speed(each, len(devices) > 1) for each in choices]),
        *_latencies(choices),
        Column(FILE, [str(each.file or "") for each in choices], text=True),
    ]
    if any(each.retrained for each in choices):
        # Test figures are what counts; those of the search split chose the networks.
        del columns[4]
        notes = []
    else:
        of = f": {images:,} images" if images else ""
        notes = [f"search split{of}. {OPTIMISTIC}"]
    if any(each.inherited or each.retrained for each in choices):
        notes.append(f"inherited, retrained: {_short(test)} on the test split{_noise(choices)}.")
    notes += _strangers(choices)
    if len(devices) == 1:
        notes.append(f"images/s: in inference on {devices[0]}.")
    notes += _latency_notes(choices)
    notes.append("1 MAC = 2 FLOPs.")
    return Final([each for each in columns if any(each.cells)], notes)


def show_table(final: Final, title: str, run: Path, console: Console) -> None:
    """Print the table; files stand beneath it, whole, so that they can be copied."""
    files = [column.cells for column in final.columns if column.title == FILE]
    show_columns([each for each in final.columns if each.title != FILE], console, title)
    for path in filter(None, (path for cells in files for path in cells)):
        console.print(str(run / path), highlight=False, markup=False, soft_wrap=True)
    console.print(" ".join(final.notes), highlight=False, markup=False, style="dim")


def _noise(choices: Sequence[Choice]) -> str:
    """How far a top-1 on so many images may be from the truth, by chance alone."""
    known = [(each.images, each.retrained.get("top1")) for each in choices]
    found = [(count, share) for count, share in known if count and share is not None]
    if not found:
        return ""
    count, share = found[0]
    error = 100 * (share * (1 - share) / count) ** 0.5
    return f", {count:,} images (one standard error of a top-1 is {error:.1f} points)"


def _strangers(choices: Sequence[Choice]) -> list[str]:
    """Networks that were retrained by other values than the first one."""
    known = [each for each in choices if each.recipe]
    return [
        f"{_name(each)} was retrained by other values ({'; '.join(differing)})."
        for each in known[1:]
        if (differing := changes(known[0].recipe, each.recipe, ("retrain",)))
    ]


def _name(choice: Choice) -> str:
    if choice.better is not None:
        return f"{choice.name} (outdated)"
    return "full network" if choice.full else choice.name


def _short(score: Score) -> str:
    return score.title.removesuffix(" (%)")


def _of(metrics: object, score: Score) -> str:
    return score.text(metrics.get(score.name)) if isinstance(metrics, dict) else ""


def _latencies(choices: Sequence[Choice]) -> list[Column]:
    """A column for each latency; `~` before what is predicted alone."""
    columns = []
    for name in dict.fromkeys(name for each in choices for name in each.latencies):
        found = [each.latencies.get(name) for each in choices]
        cells = [f"{'' if f.measured else '~'}{f.ms:.3g}" if f else "" for f in found]
        columns.append(Column(name, cells))
    return columns


def _latency_notes(choices: Sequence[Choice]) -> list[str]:
    """What each latency was measured on, or is predicted for."""
    notes = {
        f"{name}: of a batch, {'measured' if each.measured else 'predicted (~)'}"
        f"{f' on {each.of}' * bool(each.of)}."
        for choice in choices
        for name, each in choice.latencies.items()
    }
    return sorted(notes)


def _speed(choice: Choice, named: bool) -> str:
    if choice.speed is None:
        return ""
    text = f"{choice.speed:,.0f}"
    return f"{text} ({choice.speed_of})" if named and choice.speed_of else text
