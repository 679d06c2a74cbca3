"""Plots of a search: hypervolume over evaluations, and the choices of its front."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from search.report.search_data import HypervolumeCurve, Usage
from search.report.style import BLUE, GREY, ORANGE


def draw_hypervolumes(curves: Mapping[str, HypervolumeCurve]) -> Figure:
    """Draw hypervolume over evaluations, by name of the search; the first one is highlighted."""
    figure = Figure(figsize=(9, 4.2))
    axes = figure.add_subplot()
    for i, (name, curve) in enumerate(curves.items()):
        last = 100 * curve.steps[-1][1] if curve.steps else 0.0
        axes.plot(
            [0, *(count for count, _ in curve.steps), curve.evaluations],
            [0.0, *(100 * volume for _, volume in curve.steps), last],
            drawstyle="steps-post",
            color=GREY if i else BLUE,
            zorder=2 if i else 3,
            label=f"{name}: {last:.0f} %",
        )
    axes.set_xlabel("evaluations")
    axes.set_ylabel("hypervolume (% of the box, worst to best)")
    axes.set_ylim(0, 100)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.legend(loc="lower right")
    return figure


def draw_usage(front: Sequence[Usage], others: Sequence[Usage] | None) -> Figure:
    """Draw a panel for each operator, with the share of archs that use it at each block.

    Args:
        front: Usage in the archs of a front, drawn as bars.
        others: Usage in archs drawn uniformly, as marks.
    """
    blocks = range(len(front[0].shares))
    figure = Figure(figsize=(min(max(9.0, 0.62 * len(blocks) + 1.6), 14.0), 0.9 + 1.9 * len(front)))
    rows = figure.subplots(len(front), squeeze=False)[:, 0]
    for k, (axes, usage) in enumerate(zip(rows, front, strict=True)):
        percents = [100 * share for share in usage.shares]
        axes.bar(blocks, percents, 0.72, color=BLUE, zorder=2, label="archs of the front")
        if others is not None:
            marks = [100 * share for share in others[k].shares]
            left, right = [i - 0.42 for i in blocks], [i + 0.42 for i in blocks]
            axes.hlines(marks, left, right, ORANGE, lw=3, label="archs drawn uniformly")
        axes.set_ylim(0, 104)
        axes.set_yticks([0, 50, 100], ["0", "50", "100 %"])
        axes.set_xlim(-0.7, len(blocks) - 0.3)
        axes.set_xticks(blocks)
        axes.grid(visible=False, axis="x")
        axes.set_title(usage.title)
    axes.set_xlabel("block")
    handles = axes.get_legend_handles_labels()[0]
    figure.legend(handles=handles, loc="outside upper left", ncols=2)
    return figure
