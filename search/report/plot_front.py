"""The plot of a front, among evaluated, hand-made and retrained networks."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from search.problem.costs import is_latency
from search.problem.paired_error import INSIGNIFICANT
from search.report.front_data import FrontData, Point
from search.report.style import BLUE, GREEN, INK, ORANGE, OUTSIDE, PALE, PURPLE
from search.utils.console import metric_title
from search.utils.units import quantity

# The worst evaluated networks, one in so many, are left out: they would squeeze the others.
ONE_IN = 20
# Markers of single networks on the test split. On the search split they are strokes, beside the
# circles of the front and the star of the full network: the splits have different images.
MARKERS = "s^Dv<P>Xpdh8"
STROKES = ("x", "+", "1", "2", "3", "4", "|", "_")
# Headings of the legend, and their colours.
SPLITS = {"search split": BLUE, "test split": ORANGE}
HOLLOW: dict[str, Any] = {"mfc": "white", "mew": 1.5}


def draw_front(data: FrontData) -> Figure:
    """Draw the score of networks over their cost."""
    figure = Figure(figsize=(10, 6))
    axes = figure.add_subplot()
    unit = "" if is_latency(data.cost) else " of one image"
    axes.set_xlabel(f"{metric_title(data.cost)}{unit}")
    axes.set_ylabel(data.score.axis)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: quantity(value)))
    _draw_search_split(axes, data)
    if data.retrained:
        _draw_test_split(axes, data)
    for text in axes.legend(**OUTSIDE).get_texts():
        split = text.get_text().partition(",")[0]
        if split in SPLITS:
            text.set(fontweight="bold", color=SPLITS[split])
    return figure


def _draw_search_split(axes: Axes, data: FrontData) -> None:
    _add_heading(axes, "search split", data.search_images)
    timed = is_latency(data.cost)
    if data.front:
        label = "front" + f", {'measured' if data.cost_measured else 'predicted'} ms" * timed
        line: dict[str, Any] = {"ls": "-" if data.is_line else "", "drawstyle": "steps-post"}
        _plot(axes, data.front, "o", color=BLUE, ms=5.5, mew=0, label=label, **line)
    if data.insignificant:
        label = f"not told apart from\nthe next best ({INSIGNIFICANT})"
        _plot(axes, data.insignificant, "o", mec=BLUE, ms=5.5, label=label, **HOLLOW)
    if data.evaluated:
        ranked = sorted(data.evaluated, key=lambda each: each.y, reverse=data.score.better == "max")
        worst = len(ranked) // ONE_IN
        label = "evaluated" + ", predicted ms" * timed + f",\nbut the {worst} worst" * bool(worst)
        best = ranked[: len(ranked) - worst]
        _plot(axes, best, "o", color=PALE, mew=0, ms=4, zorder=1, label=label)
    if data.full:
        _plot(axes, [data.full], "*", color=INK, ms=15, zorder=7, label="full network")
    if data.limit is not None:
        axes.axvline(data.limit, color=INK, lw=1.2, ls="--", zorder=2, label="budget")
    for point, marker in zip(data.hand_made, cycle(STROKES), strict=False):
        style = {"color": GREEN, "mec": GREEN, "mew": 2.2, "ms": 9}
        _plot(axes, [point], marker, zorder=5, label=point.name, **style)


def _draw_test_split(axes: Axes, data: FrontData) -> None:
    """Draw the retrained networks, controls behind the others.

    Of each, its points before and after retraining, with an arrow between them.
    """
    _add_heading(axes, "test split", data.test_images)
    for (before, after, is_control), marker in zip(data.retrained, cycle(MARKERS), strict=False):
        color, raised = (PURPLE, 0.0) if is_control else (ORANGE, 0.2)
        _plot(axes, [after], marker, color=color, ms=10, zorder=8 + raised, label=after.name)
        if before is not None:
            _plot(axes, [before], marker, mec=color, ms=7, zorder=6 + raised, **HOLLOW)
            arrow = {"arrowstyle": "-|>", "color": color, "lw": 1.5, "shrinkA": 3, "shrinkB": 5}
            axes.annotate("", after[:2], before[:2], arrowprops=arrow, zorder=6 + raised)
    if any(each.before for each in data.retrained):
        axes.plot([], [], "s", mec=INK, ms=7, label="before retraining", **HOLLOW)


def _plot(axes: Axes, points: Sequence[Point], marker: str, **style: Any) -> None:
    full_style: dict[str, Any] = {"ls": "", "mec": "white", "mew": 0.8, "zorder": 3, **style}
    axes.plot([each.x for each in points], [each.y for each in points], marker=marker, **full_style)


def _add_heading(axes: Axes, split: str, images: int | None) -> None:
    """Add a heading to the legend that names the split of the following entries."""
    axes.plot([], [], ls="", label=f"{split}, {images:,} images" if images else split)
