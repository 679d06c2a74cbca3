"""The picture of MACs against milliseconds."""

from __future__ import annotations

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from search.report.latencies import Latencies
from search.report.style import (
    BLUE,
    GREY,
    ORANGE,
    PALE,
    RC,
    SKY,
    below_legend,
    fitting,
    new_figure,
)


def draw_latency(found: Latencies) -> Figure:
    """Left: networks by their shares of MACs and of time. Right: what operators add to either."""
    figure = new_figure(11, 5.8, layout="constrained")
    with rc_context(RC):
        left, right = figure.subplots(1, 2, width_ratios=(1.5, 1))
        _draw_networks(left, found)
        _draw_operators(right, found)
        size = fitting(found.conditions, 10.5, 10.5)
        figure.suptitle(found.conditions, x=0.01, ha="left", fontsize=size, fontweight="bold")
    return figure


def _draw_networks(axes: Axes, found: Latencies) -> None:
    groups = (
        (found.archs, "archs of the profile, measured", GREY, "o", 22, GREY),
        (found.front, "front, predicted", "none", "o", 44, BLUE),
        (found.measured, "front, measured", BLUE, "o", 26, BLUE),
    )
    for spots, label, face, marker, size, edge in groups:
        if spots:
            xs, ys = zip(*spots, strict=True)
            axes.scatter(
                xs, ys, s=size, marker=marker, facecolors=face, edgecolors=edge, label=label
            )
    axes.axline((0, 0), (1, 1), color=PALE, lw=1.5, zorder=1, label="time saved as MACs are")
    if found.limit is not None:
        axes.axhline(found.limit, color=ORANGE, lw=1.6, label=f"budget {found.limit:.0%}")
    every = [*found.archs, *found.front, *found.measured]
    top = max([1.0, *(spot.ms for spot in every)])
    axes.set_xlim(0, 1.2)
    axes.set_ylim(0, 1.05 * top)
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.set_xlabel("MACs, of the full network")
    axes.set_ylabel(f"time, of the full network's {found.full_ms:.3g} ms")
    below_legend(axes, 2)


def _draw_operators(axes: Axes, found: Latencies) -> None:
    """Pairs of bars, the operator that takes most beyond its MACs on top."""
    rows = list(reversed(found.excess))
    places = range(len(rows))
    axes.barh([i + 0.2 for i in places], [row.time for row in rows], 0.38, color=BLUE, label="time")
    axes.barh([i - 0.2 for i in places], [row.macs for row in rows], 0.38, color=SKY, label="MACs")
    most = max((max(row.time, row.macs) for row in rows), default=1.0)
    for i, row in zip(places, rows, strict=True):
        text = f"{100 * (row.time - row.macs) + 0.0:+.1f}"
        axes.text(max(row.time, row.macs) + 0.02 * most, i, text, va="center", fontsize=9)
    axes.set_yticks(list(places), [row.operator for row in rows])
    axes.set_xlim(0, 1.2 * most)
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("of the full network, mean of the profile's archs")
    below_legend(axes, 2)
