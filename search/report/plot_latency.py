"""The plot of time against MACs."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from search.report.latency_data import LatencyData
from search.report.style import BLUE, GREY, ORANGE, PALE, SKY


def draw_latency(data: LatencyData) -> Figure:
    """Draw shares of MACs and time: of networks on the left, of operators on the right."""
    figure = Figure(figsize=(11, 5.8))
    networks, operators = figure.subplots(1, 2, width_ratios=(1.5, 1))
    _draw_networks(networks, data)
    _draw_operators(operators, data)
    for axes in (networks, operators):
        axes.xaxis.set_major_formatter(PercentFormatter(1))
        axes.legend(loc="upper left", bbox_to_anchor=(0, -0.14), ncols=2)
    figure.suptitle(str(data.table.conditions), x=0.01, ha="left", fontweight="bold", wrap=True)
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
    axes.axline((0, 0), (1, 1), color=PALE, lw=1.5, zorder=1, label="time in proportion to MACs")
    if data.limit is not None:
        axes.axhline(data.limit, color=ORANGE, lw=1.6, label=f"budget {data.limit:.0%}")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.set_xlabel("MACs, of the full network")
    axes.set_ylabel(f"time, of the full network's {data.table.full_ms:.3g} ms")


def _draw_operators(axes: Axes, data: LatencyData) -> None:
    """Draw a pair of bars for each operator, the one with the largest excess on top."""
    names, times, work = zip(*reversed(data.operators), strict=True)
    positions = range(len(names))
    axes.barh([i + 0.2 for i in positions], times, 0.38, color=BLUE, label="time")
    axes.barh([i - 0.2 for i in positions], work, 0.38, color=SKY, label="MACs")
    axes.set_yticks(positions, names)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("of the full network, mean of the profile's archs")
