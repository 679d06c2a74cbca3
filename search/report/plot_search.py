"""Plots of a search: hypervolume over evaluations, and the choices of its front."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from search.report.search_data import HypervolumeCurve, Usage
from search.report.style import BLUE, GREY, INK, ORANGE, RC, new_figure, use_whole_numbers


@rc_context(RC)
def draw_hypervolumes(curves: Mapping[str, HypervolumeCurve]) -> Figure:
    """Draw hypervolume over evaluations; the first search in front."""
    figure = new_figure(9, 4.2)
    axes = figure.add_subplot()
    for i, (name, curve) in enumerate(curves.items()):
        style: dict[str, Any] = {"color": GREY, "lw": 1.8, "zorder": 2}
        if i == 0:
            style = {"color": BLUE, "lw": 2.2, "zorder": 3}
        last = 100 * curve.steps[-1][1] if curve.steps else 0.0
        xs = [0, *(count for count, _ in curve.steps), curve.evaluations]
        ys = [0.0, *(100 * volume for _, volume in curve.steps), last]
        axes.plot(xs, ys, drawstyle="steps-post", label=f"{name}: {last:.0f} %", **style)
    axes.set_xlabel("evaluations")
    axes.set_ylabel("hypervolume (% of the box, worst to best)")
    axes.set_ylim(0, 100)
    axes.set_xlim(0, max(each.evaluations for each in curves.values()))
    use_whole_numbers(axes)
    axes.legend(loc="lower right", fontsize=9.5)
    return figure


@rc_context(RC)
def draw_usage(
    front: Sequence[Usage], others: Sequence[Usage] | None, labels: tuple[str, str]
) -> Figure:
    """Draw a panel for each operator: the share of archs that use it at each block.

    Args:
        front: Usage in the archs of a front, drawn as bars.
        others: Usage in other archs, drawn as marks.
        labels: Legend labels of both.
    """
    blocks = range(len(front[0].shares))
    figure = new_figure(min(max(9.0, 0.62 * len(blocks) + 1.6), 14.0), 6.6)
    for k, usage in enumerate(front):
        axes = figure.add_subplot(len(front), 1, k + 1)
        percents = [100 * share for share in usage.shares]
        axes.bar(blocks, percents, 0.72, color=BLUE, zorder=2, label=labels[0])
        if others is not None:
            marks = [100 * share for share in others[k].shares]
            left, right = [i - 0.42 for i in blocks], [i + 0.42 for i in blocks]
            axes.hlines(marks, left, right, ORANGE, lw=3, label=labels[1])
        axes.set_ylim(0, 104)
        axes.set_yticks([0, 50, 100], ["0", "50", "100 %"])
        axes.set_xlim(-0.7, len(blocks) - 0.3)
        axes.set_xticks(blocks)
        axes.tick_params(axis="x", length=0)
        axes.grid(visible=False, axis="x")
        axes.set_title(usage.title, loc="left", fontsize=11, fontweight="bold", color=INK, pad=5)
        if usage.most_used:
            text = f"most used: {', '.join(usage.most_used)}"
            axes.set_title(text, loc="right", fontsize=9.5, color=GREY, pad=5)
    axes.set_xlabel("block")
    handles = axes.get_legend_handles_labels()[0][::-1]
    figure.legend(handles=handles, loc="outside upper left", ncols=2, frameon=False, fontsize=10)
    return figure
