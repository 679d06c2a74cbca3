"""The plot of training curves: losses and metrics of archs and operators over epochs."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from search.report.networks import Network
from search.report.search_result import LOWER, Score
from search.report.style import OUTSIDE
from search.report.training_log import Curve, Row, collect_curves
from space.operators.registry import operators

# Ratio of the largest loss to the smallest above which the axis is logarithmic.
WIDE_RANGE = 15
# Powers of ten below which a logarithmic axis has ticks between them.
DECADES = 2.5
# Kinds of archs that a supernet's log has losses of, the largest first.
ARCHS = ("largest", "smallest", "random")
AUXILIARY = "Auxiliary losses"
LOSS = f"loss ({LOWER})"


@dataclass(frozen=True)
class Panel:
    """Curves that share a y axis.

    Args:
        title: Title above the panel.
        unit: Label of the y axis.
        curves: The curves by name.
        dashed: Names of the control curves, drawn dashed.
    """

    title: str
    unit: str
    curves: Mapping[str, Curve]
    dashed: Collection[str] = ()


def make_training_panels(
    rows: Sequence[Row], score: Score, learned: tuple[str, str]
) -> list[Panel]:
    """Make panels of losses, of the score of the watched archs, and of operators' metrics.

    Args:
        rows: Rows of the supernet's log.
        score: The score of the watched archs.
        learned: What the largest arch learns from, and what the others do: losses of different
            kinds are no numbers of one axis.
    """
    watched = collect_curves(rows, score.name, score.scale(1.0))
    kinds: dict[str, dict[str, Curve]] = {f"Loss on {each}": {} for each in learned}
    for name, curve in collect_curves(rows, "loss").items():
        title = AUXILIARY
        if name in ARCHS:
            title = f"Loss on {learned[name != ARCHS[0]]}"
        kinds.setdefault(title, {})[name] = curve
    panels = [
        *(Panel(title, LOSS, curves) for title, curves in kinds.items()),
        Panel("The watched archs, search split, by share of MACs", score.axis, watched),
    ]
    for metric in filter(None, (each.metric for each in operators())):
        curves = collect_curves(rows, metric.name, 100)
        panels.append(Panel(metric.title, f"{metric.name} (%)", curves, metric.controls))
    return [panel for panel in panels if panel.curves]


def make_retraining_panels(networks: Sequence[Network], score: Score) -> list[Panel]:
    """Make panels of losses and accuracies of the retrained networks, if any."""
    ranked = sorted(networks, key=lambda each: -each.macs)
    controls = {each.label for each in ranked if each.is_control}
    panels = []
    for title, group, factor, unit in (
        ("Loss on the training split", "loss", 1.0, LOSS),
        ("On the search split", score.name, score.scale(1.0), score.axis),
    ):
        curves = {
            each.label: collect_curves(each.log, group, factor).get("subnet") for each in ranked
        }
        logged = {name: curve for name, curve in curves.items() if curve is not None}
        panels.append(Panel(title, unit, logged, controls))
    return [panel for panel in panels if panel.curves]


def draw_panels(panels: Sequence[Panel]) -> Figure:
    """Draw all panels, one above the other."""
    figure = Figure(figsize=(10, 0.6 + 3.1 * len(panels)))
    rows = figure.subplots(len(panels), squeeze=False)[:, 0]
    for axes, panel in zip(rows, panels, strict=True):
        _draw_panel(axes, panel)
    return figure


def _draw_panel(axes: Axes, panel: Panel) -> None:
    colors = colormaps["viridis"](np.linspace(0.05, 0.85, len(panel.curves)))
    for (name, curve), color in zip(panel.curves.items(), colors, strict=True):
        style = "--" if name in panel.dashed else "-"
        # A line through a single point is invisible.
        marker = "o" if len(curve) == 1 else ""
        axes.plot(list(curve), list(curve.values()), style, marker=marker, color=color, label=name)
    axes.set_title(panel.title)
    axes.set_xlabel("epoch")
    axes.set_ylabel(panel.unit)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
    values = [value for curve in panel.curves.values() for value in curve.values()]
    if panel.unit == LOSS and min(values) > 0 and max(values) > WIDE_RANGE * min(values):
        # The losses of archs and selectors differ by powers of ten.
        axes.set_yscale("log")
        decades = math.log10(max(values) / min(values))
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if decades < DECADES else (1,)))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter("{x:g}")
    axes.legend(**OUTSIDE)
