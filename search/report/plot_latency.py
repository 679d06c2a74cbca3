"""The plot of MACs against milliseconds."""

from __future__ import annotations

import textwrap

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from search.report.latency_data import LatencyData
from search.report.style import BLUE, GREY, ORANGE, PALE, RC, SKY, new_figure


@rc_context(RC)
def draw_latency(data: LatencyData) -> Figure:
    """Draw networks by their shares of MACs and time (left), and operators' shares (right)."""
    figure = new_figure(11, 5.8)
    networks, operators = figure.subplots(1, 2, width_ratios=(1.5, 1))
    _draw_networks(networks, data)
    _draw_operators(operators, data)
    for axes in (networks, operators):
        axes.xaxis.set_major_formatter(PercentFormatter(1))
        axes.legend(loc="upper left", bbox_to_anchor=(0, -0.14), ncols=2, fontsize=9, frameon=False)
    title = textwrap.fill(data.conditions, 100)
    figure.suptitle(title, x=0.01, ha="left", fontsize=10.5, fontweight="bold")
    return figure


def _draw_networks(axes: Axes, data: LatencyData) -> None:
    for costs, label, size, face, edge in (
        (data.archs, "archs of the profile, measured", 22, GREY, GREY),
        (data.predicted, "front, predicted", 44, "none", BLUE),
        (data.measured, "front, measured", 26, BLUE, BLUE),
    ):
        if costs:
            xs, ys = zip(*costs, strict=True)
            axes.scatter(xs, ys, s=size, facecolors=face, edgecolors=edge, label=label)
    axes.axline((0, 0), (1, 1), color=PALE, lw=1.5, zorder=1, label="time saved as MACs are")
    if data.limit is not None:
        axes.axhline(data.limit, color=ORANGE, lw=1.6, label=f"budget {data.limit:.0%}")
    everything = (*data.archs, *data.predicted, *data.measured)
    axes.set_xlim(0, 1.2)
    axes.set_ylim(0, 1.05 * max([1.0, *(each.ms for each in everything)]))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.set_xlabel("MACs, of the full network")
    axes.set_ylabel(f"time, of the full network's {data.full_ms:.3g} ms")


def _draw_operators(axes: Axes, data: LatencyData) -> None:
    """Draw a pair of bars for each operator, the one with the largest excess on top."""
    rows = list(reversed(data.operators))
    places = range(len(rows))
    axes.barh([i + 0.2 for i in places], [row.time for row in rows], 0.38, color=BLUE, label="time")
    axes.barh([i - 0.2 for i in places], [row.macs for row in rows], 0.38, color=SKY, label="MACs")
    most = max((max(row.time, row.macs) for row in rows), default=1.0)
    for i, row in enumerate(rows):
        text = f"{100 * row.excess + 0.0:+.1f}"
        axes.text(max(row.time, row.macs) + 0.02 * most, i, text, va="center", fontsize=9)
    axes.set_yticks(list(places), [row.operator for row in rows])
    axes.set_xlim(0, 1.2 * most)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("of the full network, mean of the profile's archs")
