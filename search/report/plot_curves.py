"""Plots of training: losses, accuracies, recall of the selectors, over the epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from search.report.networks import Network
from search.report.score import LOWER, Score
from search.report.style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PURPLE,
    RC,
    add_outside_legend,
    make_color_ramp,
    new_figure,
    use_whole_numbers,
)
from search.report.training_log import Curve, Row, read_curves

LOSSES = {"largest": INK, "smallest": ORANGE, "random": BLUE, "selectors": PURPLE, "subnet": BLUE}
RECALLS = {"selector": PURPLE, "previous map": GREEN, "class row": ORANGE, "chance": GREY}
# Of the largest value to the smallest, from which on an axis is logarithmic.
WIDE_RANGE = 15
LOSS = f"loss{LOWER}"


@dataclass(frozen=True)
class Line:
    """A curve as it is drawn."""

    name: str
    curve: Curve
    color: str
    dashed: bool = False
    bold: bool = False


@dataclass(frozen=True)
class Panel:
    """Curves that share a y axis.

    Args:
        title: A few words.
        unit: Label of the y axis.
        lines: Curves, from the most important to the least.
        factor: Factor from the stored unit to the shown one.
    """

    title: str
    unit: str
    lines: Sequence[Line]
    factor: float = 1.0


def make_training_panels(rows: Sequence[Row], score: Score) -> list[Panel]:
    """Losses, accuracy of the watched archs, and recall of the selectors, where there are any."""
    losses = _make_lines(read_curves(rows, "loss"), LOSSES)
    recalls = _make_lines(read_curves(rows, "recall"), RECALLS)
    panels = (
        Panel("Loss by kind of arch", LOSS, losses),
        _make_watched_panel(rows, score),
        Panel("Recall of the selectors", "tokens found (%)", recalls, 100.0),
    )
    return [panel for panel in panels if panel.lines]


def make_retraining_panels(networks: Sequence[Network], score: Score) -> list[Panel]:
    """Loss and accuracy of each retrained network, where there are any."""
    ranked = sorted(networks, key=lambda each: -each.macs)
    subnets = [each.name for each in ranked if not each.is_full]
    colors = dict(zip(subnets, make_color_ramp(len(subnets)), strict=True))

    def lines(group: str) -> list[Line]:
        curves = [(each, read_curves(each.log, group).get("subnet")) for each in ranked]
        return [
            Line(each.label, curve, colors.get(each.name, INK), each.is_control, each.is_full)
            for each, curve in curves
            if curve is not None
        ]

    accuracy = "Accuracy on the search split" if score.is_percent else "On the search split"
    panels = (
        Panel("Loss on the training split", LOSS, lines("loss")),
        Panel(accuracy, score.axis, lines(score.name), score.scale(1.0)),
    )
    return [panel for panel in panels if panel.lines]


@rc_context(RC)
def draw_panels(panels: Sequence[Panel], across: bool) -> Figure:
    """One plot of all panels: one above the other, or side by side with one legend."""
    count = len(panels)
    columns, rows = (count, 1) if across else (1, count)
    width, height = (3.0 + 4.8 * columns, 4.6) if across else (10.0, 0.6 + 3.1 * rows)
    figure = new_figure(width, height)
    # Side by side the panels are of the same networks, though one may lack some of them.
    named: dict[str, Line2D] = {}
    for k, panel in enumerate(panels, start=1):
        axes = figure.add_subplot(rows, columns, k)
        _draw_panel(axes, panel)
        named |= {str(line.get_label()): line for line in axes.lines}
        if not across:
            add_outside_legend(axes, axes.lines)
    if across:
        add_outside_legend(figure, list(named.values()))
    return figure


def _draw_panel(axes: Axes, panel: Panel) -> None:
    axes.set_title(panel.title, loc="left", fontsize=11.5, fontweight="bold", pad=9)
    for line in panel.lines:
        style: dict[str, Any] = {
            "color": line.color,
            "lw": 2.2 if line.bold else 1.7,
            "ls": (0, (4, 2)) if line.dashed else "-",
            # A line through one point is none.
            "marker": "o" if len(line.curve.values) == 1 else "",
        }
        values = [panel.factor * value for value in line.curve.values]
        axes.plot(line.curve.epochs, values, label=line.name, ms=5, **style)
    axes.set_xlabel("epoch")
    axes.set_ylabel(panel.unit)
    axes.margins(x=0.01)
    use_whole_numbers(axes, 8)
    values = [value for line in panel.lines for value in line.curve.values]
    if panel.unit == LOSS and min(values) > 0 and max(values) > WIDE_RANGE * min(values):
        # Losses of different kinds differ by powers of ten.
        axes.set_yscale("log")
        axes.set_ylabel(f"{LOSS}, logarithmic")
        axes.yaxis.set_major_formatter("{x:g}")


def _make_watched_panel(rows: Sequence[Row], score: Score) -> Panel:
    curves = read_curves(rows, score.name)
    if not curves:
        score, curves = Score("top1"), read_curves(rows, "top1")
    between = [name for name in curves if name not in ("largest", "smallest")]
    between.sort(key=lambda name: -float(name.rstrip("%")) if name.rstrip("%").isdigit() else 0)
    colors = {"largest": INK, "smallest": ORANGE}
    colors |= dict(zip(between, make_color_ramp(len(between)), strict=True))
    title = "Accuracy of the watched archs" if score.is_percent else "The watched archs"
    lines = _make_lines(curves, colors)
    return Panel(f"{title}, search split", score.axis, lines, score.scale(1.0))


def _make_lines(curves: Mapping[str, Curve], colors: Mapping[str, str]) -> list[Line]:
    """The curves in the order of the colours, and others after them."""
    names = [name for name in colors if name in curves]
    names += [name for name in curves if name not in colors]
    return [
        Line(
            f"{name} of MACs" if name.endswith("%") else name,
            curves[name],
            colors.get(name, GREY),
            dashed=name == "chance",
            bold=name in ("largest", "selector"),
        )
        for name in names
    ]
