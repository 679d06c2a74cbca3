"""Pictures of training: losses, accuracies, recall of the selectors, over the epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from search.report.choices import Choice
from search.report.logs import Curve, Row, curves
from search.report.measures import LOWER, Score
from search.report.style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PURPLE,
    RC,
    new_figure,
    outside_legend,
    ramp,
    whole_numbers,
)

KINDS = {"largest": INK, "smallest": ORANGE, "random": BLUE, "selectors": PURPLE, "subnet": BLUE}
RECALLS = {"selector": PURPLE, "previous map": GREEN, "class row": ORANGE, "chance": GREY}
WIDE_RANGE = 15
LOSS = f"loss{LOWER}"


class Line(NamedTuple):
    """A curve as it is drawn."""

    name: str
    curve: Curve
    color: str
    dashed: bool = False
    bold: bool = False


class Panel(NamedTuple):
    """Curves that share a y axis; empty ones are left out of the picture.

    Args:
        title: a few words.
        unit: of the y axis.
        lines: from the most important to the least.
        factor: from the stored unit to the shown one.
    """

    title: str
    unit: str
    lines: list[Line]
    factor: float = 1.0


def training_panels(rows: Sequence[Row], score: Score) -> list[Panel]:
    """Losses, accuracy of the watched archs, and recall of the selectors."""
    return [
        panel
        for panel in (
            Panel("Loss by kind of arch", LOSS, _lines(curves(rows, "loss"), KINDS)),
            _watched(rows, score),
            Panel(
                "Recall of the selectors",
                "tokens found (%)",
                _lines(curves(rows, "recall"), RECALLS, dashed="chance"),
                100.0,
            ),
        )
        if panel.lines
    ]


def retraining_panels(choices: Sequence[Choice], score: Score) -> list[Panel]:
    """Loss and accuracy of each retrained network."""
    found = []
    for group, title, unit, factor in (
        ("loss", "Loss on the training split", LOSS, 1.0),
        (
            score.name,
            "Accuracy on the search split" if score.percent else "On the search split",
            score.axis,
            score.show(1.0),
        ),
    ):
        lines = []
        ranked = sorted(choices, key=lambda each: -each.macs)
        subnets = [each.name for each in ranked if not each.full]
        colors = dict(zip(subnets, ramp(len(subnets)), strict=True))
        for choice in ranked:
            curve = curves(choice.rows, group).get("subnet")
            if curve is not None:
                color = INK if choice.full else colors[choice.name]
                lines.append(Line(choice.label, curve, color, choice.control, choice.full))
        if lines:
            found.append(Panel(title, unit, lines, factor))
    return found


def draw_panels(panels: Sequence[Panel], across: bool) -> Figure:
    """One picture of all panels: one above the other, or side by side with one legend."""
    count = len(panels)
    columns, rows = (count, 1) if across else (1, count)
    width, height = (3.0 + 4.8 * columns, 4.6) if across else (10.0, 0.6 + 3.1 * rows)
    figure = new_figure(width, height, layout="constrained")
    with rc_context(RC):
        # Side by side the panels are of the same networks, though one may lack some of them.
        named: dict[str, Line2D] = {}
        for k, panel in enumerate(panels, start=1):
            axes = figure.add_subplot(rows, columns, k)
            lines = _draw(axes, panel)
            named |= {str(line.get_label()): line for line in lines}
            if not across:
                outside_legend(axes, lines)
        if across:
            outside_legend(figure, list(named.values()))
    return figure


def _draw(axes: Axes, panel: Panel) -> list[Line2D]:
    axes.set_title(panel.title, loc="left", fontsize=11.5, fontweight="bold", pad=9)
    drawn = []
    for line in panel.lines:
        values = [panel.factor * value for value in line.curve.values]
        drawn += axes.plot(
            line.curve.epochs,
            values,
            color=line.color,
            lw=2.2 if line.bold else 1.7,
            ls=(0, (4, 2)) if line.dashed else "-",
            marker="o" if len(values) == 1 else "",
            ms=5,
            label=line.name,
        )
    axes.set_xlabel("epoch")
    axes.set_ylabel(panel.unit)
    _choose_scale(axes, panel)
    axes.margins(x=0.01)
    whole_numbers(axes, 8)
    return drawn


def _choose_scale(axes: Axes, panel: Panel) -> None:
    """Losses of different kinds differ by powers of ten."""
    values = [value for line in panel.lines for value in line.curve.values]
    if panel.unit == LOSS and min(values) > 0 and max(values) > WIDE_RANGE * min(values):
        axes.set_yscale("log")
        axes.set_ylabel(f"{LOSS}, logarithmic")
        axes.yaxis.set_major_formatter("{x:g}")


def _watched(rows: Sequence[Row], score: Score) -> Panel:
    found = curves(rows, score.name)
    if not found:
        score, found = Score("top1"), curves(rows, "top1")
    between = [name for name in found if name not in ("largest", "smallest")]
    between.sort(key=lambda name: -float(name.rstrip("%")) if name.rstrip("%").isdigit() else 0)
    colors = {"largest": INK, "smallest": ORANGE}
    colors |= dict(zip(between, ramp(len(between)), strict=True))
    lines = [
        line._replace(name=f"{line.name} of MACs" if line.name.endswith("%") else line.name)
        for line in _lines(found, colors)
    ]
    title = "Accuracy of the watched archs" if score.percent else "The watched archs"
    return Panel(f"{title}, search split", score.axis, lines, score.show(1.0))


def _lines(
    found: Mapping[str, Curve], colors: Mapping[str, str], dashed: str | None = None
) -> list[Line]:
    order = {name: i for i, name in enumerate(colors)}
    return [
        Line(name, curve, colors.get(name, GREY), name == dashed, name in ("largest", "selector"))
        for name, curve in sorted(found.items(), key=lambda item: order.get(item[0], len(order)))
    ]
