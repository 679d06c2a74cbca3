"""Pictures of a search: hypervolume over evaluations, and the choices of its front."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib import rc_context
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from search.report.style import BLUE, GREY, INK, ORANGE, RC, new_figure, whole_numbers
from search.report.usage import Usage
from search.report.volumes import Volumes


def draw_volumes(named: Mapping[str, Volumes]) -> Figure:
    """Hypervolume over evaluations; the first search in front."""
    figure = new_figure(9, 4.2, layout="constrained")
    with rc_context(RC):
        axes = figure.add_subplot()
        for i, (name, found) in enumerate(named.items()):
            color = BLUE if i == 0 else GREY
            xs = [0, *(count for count, _ in found.steps), found.evaluations]
            ys = [0.0, *(100 * volume for _, volume in found.steps)]
            ys.append(ys[-1])
            # The first one in front of others.
            axes.plot(
                *(xs, ys),
                color=color,
                lw=2.2 if i == 0 else 1.8,
                drawstyle="steps-post",
                label=f"{name}: {ys[-1]:.0f} %",
                zorder=3 if i == 0 else 2,
            )
        axes.set_xlabel("evaluations")
        axes.set_ylabel("hypervolume (% of the box, worst to best)")
        axes.set_ylim(0, 100)
        axes.set_xlim(0, max(each.evaluations for each in named.values()))
        whole_numbers(axes)
        axes.legend(loc="lower right", fontsize=9.5)
    return figure


def draw_usage(front: Usage, others: Usage | None, title: str) -> Figure:
    """Three panels: how many archs pool, share and skip at each block."""
    depth = len(front.pool)
    width = min(max(9.0, 0.62 * depth + 1.6), 14.0)
    figure = new_figure(width, 6.6)
    with rc_context(RC):
        for k, name in enumerate(("pool", "share", "skip")):
            low = 0.085 + (2 - k) * 0.3
            axes = figure.add_axes((0.75 / width, low, 1 - 0.95 / width, 0.21))
            _draw_axis(axes, name, front, others)
            if k == 2:
                axes.set_xlabel("block")
        noun = "arch" if front.archs == 1 else "archs"
        marks: list[Artist] = [Patch(color=BLUE, label=f"{front.archs} {noun} of the front")]
        if others is not None:
            marks.append(Line2D([], [], color=ORANGE, lw=3, label=title))
        figure.legend(handles=marks, loc="upper left", ncols=2, frameon=False, fontsize=10)
    return figure


def _draw_axis(axes: Axes, name: str, front: Usage, others: Usage | None) -> None:
    values = getattr(front, name)
    blocks = range(len(values))
    axes.bar(blocks, [100 * value for value in values], 0.72, color=BLUE, zorder=2)
    if others is not None:
        marks = [100 * value for value in getattr(others, name)]
        axes.hlines(marks, [i - 0.42 for i in blocks], [i + 0.42 for i in blocks], ORANGE, lw=3)
    axes.set_ylim(0, 104)
    axes.set_yticks([0, 50, 100], ["0", "50", "100 %"])
    axes.set_xticks(list(blocks))
    axes.grid(visible=False, axis="x")
    axes.tick_params(axis="x", length=0)
    axes.set_xlim(-0.7, len(values) - 0.3)
    says = {"pool": "pool", "share": "share attention", "skip": "skip tokens"}[name]
    axes.set_title(says, loc="left", fontsize=11, fontweight="bold", color=INK, pad=5)
    most = _commonest(front.most.get(name, []))
    if most:
        axes.set_title(f"most used: {most}", loc="right", fontsize=9.5, color=GREY, pad=5)


def _commonest(found: Sequence[tuple[str, float]]) -> str:
    """The commonest choices, by the share of the archs' blocks that make them."""
    return ", ".join(name for name, _ in found)
