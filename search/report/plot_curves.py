"""Training curves: losses, accuracies and recall of the selectors over the epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

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
# Ratio of the largest loss to the smallest from which on the axis is logarithmic.
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
    """

    title: str
    unit: str
    lines: Sequence[Line]


def make_training_panels(rows: Sequence[Row], score: Score, usual: Score) -> list[Panel]:
    """Losses, accuracy of the watched archs, and recall of the selectors, where there are any."""
    watched = read_curves(rows, score.name, score.scale(1.0))
    if not watched:
        score, watched = usual, read_curves(rows, usual.name, usual.scale(1.0))
    shares = [name for name in watched if name not in ("largest", "smallest")]
    shares.sort(key=lambda name: -float(name.rstrip("%")) if name.rstrip("%").isdigit() else 0)
    colors = {"largest": INK, "smallest": ORANGE}
    colors |= dict(zip(shares, make_color_ramp(len(shares)), strict=True))
    title = "Accuracy of the watched archs" if score.is_percent else "The watched archs"
    losses, recalls = read_curves(rows, "loss"), read_curves(rows, "recall", 100)
    panels = (
        Panel("Loss by kind of arch", LOSS, _make_lines(losses, LOSSES)),
        Panel(f"{title}, search split", score.axis, _make_lines(watched, colors)),
        Panel("Recall of the selectors", "tokens found (%)", _make_lines(recalls, RECALLS)),
    )
    return [panel for panel in panels if panel.lines]


def make_retraining_panels(networks: Sequence[Network], score: Score) -> list[Panel]:
    """Make the panels of the retrained networks' losses and accuracies."""
    ranked = sorted(networks, key=lambda each: -each.macs)
    subnets = [each.name for each in ranked if not each.is_full]
    colors = dict(zip(subnets, make_color_ramp(len(subnets)), strict=True))
    title = "Accuracy on the search split" if score.is_percent else "On the search split"
    panels = []
    for group, factor, panel_title, unit in (
        ("loss", 1.0, "Loss on the training split", LOSS),
        (score.name, score.scale(1.0), title, score.axis),
    ):
        lines = [
            Line(each.label, curve, colors.get(each.name, INK), each.is_control, each.is_full)
            for each in ranked
            if (curve := read_curves(each.log, group, factor).get("subnet")) is not None
        ]
        panels.append(Panel(panel_title, unit, lines))
    return [panel for panel in panels if panel.lines]


@rc_context(RC)
def draw_panels(panels: Sequence[Panel]) -> Figure:
    """Draw all panels, one above the other."""
    figure = new_figure(10, 0.6 + 3.1 * len(panels))
    for k, panel in enumerate(panels, start=1):
        axes = figure.add_subplot(len(panels), 1, k)
        _draw_panel(axes, panel)
        add_outside_legend(axes)
    return figure


def _draw_panel(axes: Axes, panel: Panel) -> None:
    for line in panel.lines:
        axes.plot(
            line.curve.epochs,
            line.curve.values,
            label=line.name,
            color=line.color,
            lw=2.2 if line.bold else 1.7,
            ls=(0, (4, 2)) if line.dashed else "-",
            # A line through a single point is invisible.
            marker="o" if len(line.curve.values) == 1 else "",
            ms=5,
        )
    axes.set_title(panel.title, loc="left", fontsize=11.5, fontweight="bold", pad=9)
    axes.set_xlabel("epoch")
    axes.set_ylabel(panel.unit)
    axes.margins(x=0.01)
    use_whole_numbers(axes, 8)
    values = [value for line in panel.lines for value in line.curve.values]
    if panel.unit == LOSS and min(values) > 0 and max(values) > WIDE_RANGE * min(values):
        # The losses of archs and selectors differ by powers of ten.
        axes.set_yscale("log")
        axes.set_ylabel(f"{LOSS}, logarithmic")
        axes.yaxis.set_major_formatter("{x:g}")


def _make_lines(curves: Mapping[str, Curve], colors: Mapping[str, str]) -> list[Line]:
    """Make the lines of curves in the order of the colours, others last."""
    return [
        Line(
            f"{name} of MACs" if name.endswith("%") else name,
            curves[name],
            colors.get(name, GREY),
            dashed=name == "chance",
            bold=name in ("largest", "selector"),
        )
        for name in dict.fromkeys([*colors, *curves])
        if name in curves
    ]
