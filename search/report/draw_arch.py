"""The picture of one arch: what happens to the tokens, block by block."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Polygon
from matplotlib.ticker import MaxNLocator

from search.report.blocks import BlockFigures, block_figures, rest_macs
from search.report.choices import Choice
from search.report.measures import Score
from search.report.style import (
    AMBER,
    BLUE,
    DPI,
    GREY,
    INK,
    ORANGE,
    RC,
    SKY,
    fitting,
    new_figure,
    scale_of,
)

HALF = 0.34  # of a bar's width, in blocks
NARROW = 17


def draw_arch(choice: Choice, score: Score) -> Figure:
    """Bars of tokens, funnels of pooling, hatched bypasses, arcs of sharing; figures beneath."""
    figures = block_figures(choice.arch, choice.shape)
    width = min(max(9.0, 0.82 * len(figures) + 1.6), 15.0)
    stem = rest_macs(choice.arch, choice.shape)
    lines = textwrap.fill(_caption(figures, stem, choice.shape.prefix), int(width * 13.2))
    rows = _rows(figures)
    arcs = 0.3 if any(each.producer is not None for each in figures) else 0.0
    # From the bottom to the top, in inches.
    floors = [
        0.25 + 0.18 * (lines.count("\n") + 1),
        0.2 * len(rows) + 0.06,
        2.2,
        0.15,
        0.28 + arcs,
        0.85,
    ]
    height = sum(floors)
    figure = new_figure(width, height)
    with rc_context({**RC, "axes.grid": False}):
        for k, draw in ((1, _draw_table), (2, _draw_tokens), (4, _draw_attention)):
            low, left = sum(floors[:k]) / height, 1.2 / width
            box = (left, low, 1 - left - 0.15 / width, floors[k] / height)
            axes = figure.add_axes(box)
            axes.set_xlim(-0.8, len(figures) - 0.4)
            draw(axes, figures)
        x = 0.15 / width
        for y, text, most, weight in (
            (0.36, choice.title, 14.0, "bold"),
            (0.64, facts(choice, score), 10.5, "normal"),
        ):
            size = fitting(text, most, width - 0.3)
            figure.text(x, 1 - y / height, text, fontsize=size, fontweight=weight, color=INK)
        figure.text(x, 0.1 / height, lines, fontsize=9, color=GREY, linespacing=1.3)
    return figure


def facts(choice: Choice, score: Score) -> str:
    """MACs, parameters and accuracy in a line."""
    scale, prefix = scale_of([float(choice.macs)])
    words = [f"{choice.macs / scale:.3g}{prefix} MACs"]
    if not choice.full:
        words[0] += f", {choice.of_full:.0%} of the full network"
    scale, prefix = scale_of([float(choice.params)])
    words.append(f"{choice.params / scale:.3g}{prefix} parameters")
    name = score.title.removesuffix(" (%)")
    test = [
        f"{score.text(metrics[score.name])} {kind}"
        for kind, metrics in (("inherited", choice.inherited), ("retrained", choice.retrained))
        if score.name in metrics
    ]
    if test:
        words.append(f"test {name} {', '.join(test)}")
    elif score.name in choice.search:
        words.append(f"{name} {score.text(choice.search[score.name])} on the search split")
    return "  ·  ".join(words)


def _narrow(figures: Sequence[BlockFigures]) -> bool:
    """Whether blocks stand so close that words must be short."""
    return len(figures) > NARROW


def _draw_tokens(axes: Axes, figures: Sequence[BlockFigures]) -> None:
    most = max(each.before for each in figures)
    axes.set_ylim(0, 1.04 * most)
    axes.set_ylabel("patch tokens")
    axes.set_xticks([])
    axes.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.tick_params(labelsize=9)
    for i, each in enumerate(figures):
        wide = 2 * HALF
        axes.bar(i, each.tokens, wide, color=BLUE, zorder=3)
        if each.bypass:
            axes.bar(
                i,
                each.bypass,
                wide,
                bottom=each.tokens,
                facecolor="white",
                edgecolor=ORANGE,
                hatch="////",
                linewidth=1.2,
                zorder=3,
            )
        if each.pool:
            _draw_pool(axes, i, each, 7.8 if _narrow(figures) else 9.0)


def _draw_pool(axes: Axes, i: int, each: BlockFigures, size: float) -> None:
    """A funnel from the tokens before to those after, and what it is in the room above them."""
    after = each.tokens + each.bypass
    start = i - 1 + HALF if i else -0.75
    corners = [(start, 0), (start, each.before), (i - HALF, after), (i - HALF, 0)]
    axes.add_patch(Polygon(corners, facecolor=AMBER, edgecolor="none", zorder=2))
    axes.annotate(
        "{}\n{}\n→ {}".format(*each.pool),
        (i - HALF, after),
        (0, 5),
        textcoords="offset points",
        fontsize=size,
        color="#7A5200",
        fontweight="bold",
        linespacing=1.05,
        va="bottom",
        annotation_clip=False,
        zorder=6,
    )


def _draw_attention(axes: Axes, figures: Sequence[BlockFigures]) -> None:
    """A box for query and key of each block; a missing one with an arc from where its map comes."""
    shared = any(each.producer is not None for each in figures)
    axes.set_ylim(0, 0.58 if shared else 0.28)
    axes.axis("off")
    axes.text(-0.88, 0.14, "attention", ha="right", va="center", fontsize=10)
    for i, each in enumerate(figures):
        own = each.producer is None
        axes.add_patch(
            FancyBboxPatch(
                (i - HALF + 0.03, 0.02),
                2 * HALF - 0.06,
                0.24,
                boxstyle="round,pad=0,rounding_size=0.06",
                facecolor=SKY if own else "white",
                edgecolor=BLUE if own else GREY,
                linestyle="-" if own else (0, (3, 2)),
                linewidth=1.1,
                mutation_aspect=0.8,
            )
        )
        color = INK if own else GREY
        narrow = _narrow(figures)
        text = ("QK" if own else "-") if narrow else ("Q K" if own else "no Q K")
        size = 7.5 if narrow else 9
        axes.text(i, 0.135, text, ha="center", va="center", fontsize=size, color=color)
        if each.producer is not None:
            _draw_arc(axes, each.producer, i)


def _draw_arc(axes: Axes, producer: int, i: int) -> None:
    """A bracket over the boxes, higher the further it goes, with its head at the reusing block."""
    top = 0.4 + 0.06 * min(i - producer - 1, 2)
    start, end = producer + 0.12, i - 0.05
    axes.plot([start, start, end], [0.27, top, top], color=INK, lw=1.4, solid_joinstyle="round")
    arrow = {"arrowstyle": "-|>", "color": INK, "lw": 1.4, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", (end, 0.265), (end, top), arrowprops=arrow)


def _rows(figures: Sequence[BlockFigures]) -> list[tuple[str, list[str], str]]:
    """Rows of figures: name, a cell for each block, colour."""
    scale, prefix = scale_of([float(each.macs) for each in figures])
    rows = [
        ("block", [str(i) for i in range(len(figures))], INK),
        ("works on", [str(each.tokens) for each in figures], BLUE),
    ]
    if any(each.bypass for each in figures):
        rows.append(("bypass", [str(each.bypass or "") for each in figures], ORANGE))
        rows.append(("selector", [each.selector for each in figures], GREY))
    unit = f"MACs ({prefix})" if prefix else "MACs"
    return [*rows, (unit, [f"{each.macs / scale:.3g}" for each in figures], INK)]


def _draw_table(axes: Axes, figures: Sequence[BlockFigures]) -> None:
    """The rows of figures, each cell under its bar."""
    rows = _rows(figures)
    pitch = axes.get_window_extent().width / DPI / len(figures)
    longest = max((text for _, cells, _ in rows for text in cells), key=len)
    size = fitting(f"{longest} ", 9.5, pitch)
    axes.set_ylim(-len(rows), 0.3)
    axes.axis("off")
    for k, (name, cells, color) in enumerate(rows):
        y = -0.6 - k
        axes.text(-0.88, y, name, ha="right", va="center", fontsize=10, color=color)
        for i, text in enumerate(cells):
            axes.text(i, y, text, ha="center", va="center", fontsize=size, color=color)


def _caption(figures: Sequence[BlockFigures], stem: int, prefix: int) -> str:
    """What the marks of this picture mean; marks that are not in it are not explained."""
    parts = ["Images pass from left to right. Bar: patch tokens that the block works on"]
    if prefix:
        parts[0] += f" (and {prefix} prefix token{'s' if prefix > 1 else ''}, always)"
    if any(each.bypass for each in figures):
        parts.append(
            "Hatched: patch tokens that bypass the block unchanged; a selector chooses them "
            "(map: by a predicted attention map, cls: by the class token's query)"
        )
    if any(each.pool for each in figures):
        parts.append("Funnel: pooling before the block")
    if any(each.producer is not None for each in figures):
        parts.append(
            "Dashed box: the block has no query and key (Q K); it reuses the attention map of the "
            "block where the arrow begins"
        )
    scale, unit = scale_of([float(stem)])
    parts.append(f"Stem and head take another {stem / scale:.3g}{unit} MACs")
    return ". ".join(parts) + "."
