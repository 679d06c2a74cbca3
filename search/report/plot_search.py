"""Plots of a search: hypervolume over evaluations, and the choices of its front."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from search.report.search_data import HypervolumeCurve, Usage
from search.report.style import BLUE, GREY, INK, ORANGE, RC, new_figure, use_whole_numbers


@rc_context(RC)
def draw_hypervolumes(curves: Mapping[str, HypervolumeCurve]) -> Figure:
    """Hypervolume over evaluations; the first search in front."""
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
def draw_usage(front: Usage, others: Usage | None, others_label: str) -> Figure:
    """Three panels: how many archs, of a front and others, pool, share and skip at each block."""
    blocks = range(len(front.pool))
    figure = new_figure(min(max(9.0, 0.62 * len(blocks) + 1.6), 14.0), 6.6)
    panels = (
        ("pool", front.pool, others and others.pool, front.top_pools),
        ("share attention", front.share, others and others.share, ()),
        ("skip tokens", front.skip, others and others.skip, front.top_skips),
    )
    for k, (title, shares, other_shares, top) in enumerate(panels, start=1):
        axes = figure.add_subplot(3, 1, k)
        noun = "arch" if front.archs == 1 else "archs"
        percents = [100 * share for share in shares]
        label = f"{front.archs} {noun} of the front"
        axes.bar(blocks, percents, 0.72, color=BLUE, zorder=2, label=label)
        if other_shares:
            marks = [100 * share for share in other_shares]
            left, right = [i - 0.42 for i in blocks], [i + 0.42 for i in blocks]
            axes.hlines(marks, left, right, ORANGE, lw=3, label=others_label)
        axes.set_ylim(0, 104)
        axes.set_yticks([0, 50, 100], ["0", "50", "100 %"])
        axes.set_xlim(-0.7, len(blocks) - 0.3)
        axes.set_xticks(blocks)
        axes.tick_params(axis="x", length=0)
        axes.grid(visible=False, axis="x")
        axes.set_title(title, loc="left", fontsize=11, fontweight="bold", color=INK, pad=5)
        if top:
            says = f"most used: {', '.join(top)}"
            axes.set_title(says, loc="right", fontsize=9.5, color=GREY, pad=5)
    axes.set_xlabel("block")
    handles = axes.get_legend_handles_labels()[0]
    figure.legend(
        handles=handles[::-1], loc="outside upper left", ncols=2, frameon=False, fontsize=10
    )
    return figure
