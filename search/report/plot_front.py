"""The plot of a front, among evaluated, hand-made and retrained networks."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from search.problem.latency_names import is_latency
from search.problem.paired_error import INSIGNIFICANT
from search.report.front_data import FrontData, Point, RetrainedPoint
from search.report.style import (
    BLUE,
    GREEN,
    INK,
    ORANGE,
    PALE,
    PURPLE,
    RC,
    add_outside_legend,
    new_figure,
)
from search.utils.console import metric_title
from search.utils.units import quantity

# Share of the worst evaluated networks outside the y range, which would squeeze the others.
LOWEST = 0.05
# One for each network; circle and star are those of the front and of the full network.
MARKERS = "s^Dv<P>Xpdh8"
# Headings of the legend.
SPLITS = ("search split", "test split")
HOLLOW: dict[str, Any] = {"ls": "", "mfc": "white", "mew": 1.5}


@rc_context(RC)
def draw_front(data: FrontData) -> Figure:
    """Draw score over cost."""
    figure = new_figure(10, 6)
    axes = figure.add_subplot()
    of_image = "" if is_latency(data.cost) else " of one image"
    axes.set_xlabel(f"{metric_title(data.cost)}{of_image}")
    axes.set_ylabel(data.score.axis)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: quantity(value)))
    low, high = _range(data)
    hidden = sum(not low <= point.y <= high for point in data.evaluated)
    _draw_search_split(axes, data, hidden)
    if data.retrained:
        _draw_test_split(axes, data)
    costs = [point.x for point in (*data.evaluated, *data.points)]
    costs += [] if data.limit is None else [data.limit]
    if costs:
        axes.set_xlim(_with_margin(costs, 0.06))
        axes.set_ylim(low, high)
    for text in add_outside_legend(axes).get_texts():
        if text.get_text().startswith(SPLITS):
            text.set_fontweight("bold")
    return figure


def _draw_search_split(axes: Axes, data: FrontData, hidden: int) -> None:
    """Draw the networks of the search split; `hidden` evaluated ones are out of range."""
    _add_heading(axes, SPLITS[0], data.search_images)
    timed = is_latency(data.cost)
    if data.front:
        ms = f", {'measured' if data.cost_measured else 'predicted'} ms" * timed
        line = "-" if data.is_line else ""
        style: dict[str, Any] = {"color": BLUE, "mew": 0, "ms": 5.5, "ls": line, "lw": 1.8}
        _plot(axes, data.front, "o", label=f"front{ms}", **style)
        axes.lines[-1].set_drawstyle("steps-post")
    if data.insignificant:
        label = f"not told apart from\nthe next best ({INSIGNIFICANT})"
        _plot(axes, data.insignificant, "o", mec=BLUE, ms=5.5, zorder=3, label=label, **HOLLOW)
    if data.evaluated:
        side = "below" if data.score.better == "max" else "above"
        label = "all evaluated" + ", predicted ms" * timed
        label += f"\n({hidden:,} more lie {side})" * bool(hidden)
        _plot(axes, data.evaluated, "o", ls="", color=PALE, mew=0, ms=4, zorder=1, label=label)
    if data.full:
        _plot(axes, [data.full], "*", color=INK, ms=15, zorder=7, label="full network")
    if data.limit is not None:
        axes.axvline(data.limit, color=INK, lw=1.2, ls=(0, (5, 3)), zorder=2, label="budget")
    for point, marker in zip(data.hand_made, cycle(MARKERS), strict=False):
        _plot(axes, [point], marker, color=GREEN, ms=9, zorder=5, label=point.name)


def _draw_test_split(axes: Axes, data: FrontData) -> None:
    """Draw the retrained networks, controls behind the others."""
    _add_heading(axes, SPLITS[1], data.test_images)
    for controls, color in ((False, ORANGE), (True, PURPLE)):
        points = [each for each in data.retrained if each.is_control == controls]
        for point, marker in zip(points, cycle(MARKERS), strict=False):
            _draw_retrained(axes, point, marker, color)
    if any(each.before for each in data.retrained):
        axes.plot([], [], "s", mec=INK, ms=7, label="before retraining", **HOLLOW)


def _draw_retrained(axes: Axes, point: RetrainedPoint, marker: str, color: str) -> None:
    """Draw a network after retraining, with an arrow from its point before."""
    front, x = 0.0 if point.is_control else 0.2, point.after.x
    _plot(axes, [point.after], marker, color=color, ms=10, zorder=8 + front, label=point.after.name)
    if point.before is not None:
        _plot(axes, [point.before], marker, mec=color, ms=7, zorder=6 + front, **HOLLOW)
        arrow = {"arrowstyle": "-|>", "color": color, "lw": 1.5, "shrinkA": 3, "shrinkB": 5}
        ends = (x, point.after.y), (x, point.before.y)
        axes.annotate("", *ends, arrowprops=arrow, zorder=6 + front)


def _plot(axes: Axes, points: Sequence[Point], marker: str, **style: Any) -> None:
    whole: dict[str, Any] = {"ls": "", "mec": "white", "mew": 0.8, "zorder": 3, **style}
    axes.plot([each.x for each in points], [each.y for each in points], marker=marker, **whole)


def _add_heading(axes: Axes, split: str, images: int | None) -> None:
    """Add a heading to the legend that names the split of the following entries."""
    axes.plot([], [], ls="", label=f"{split}, {images:,} images" if images else split)


def _range(data: FrontData) -> tuple[float, float]:
    """Return the y range: all points but the worst evaluated networks."""
    values = [point.y for point in data.points]
    if data.evaluated:
        shares = (LOWEST, 1.0) if data.score.better == "max" else (0.0, 1 - LOWEST)
        values += map(float, np.quantile([point.y for point in data.evaluated], shares))
    return _with_margin(values, 0.07) if values else (0.0, 1.0)


def _with_margin(values: Sequence[float], share: float) -> tuple[float, float]:
    low, high = min(values), max(values)
    margin = share * (high - low) or 0.05 * abs(high) or 1.0
    return low - margin, high + margin
