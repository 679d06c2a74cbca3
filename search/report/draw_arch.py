"""The picture of one arch: what happens to the tokens, block by block."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Polygon

from search.report.blocks import BlockFigures, block_figures, rest_macs
from search.report.choices import Choice
from search.report.measures import Score
from search.report.style import AMBER, BLUE, GREY, INK, ORANGE, RC, SKY, new_figure, scale_of

HALF = 0.34  # of a bar's width, in blocks


def draw_arch(choice: Choice, score: Score) -> Figure:
    """Bars of tokens, funnels of pooling, hatched bypasses, arcs of sharing; figures beneath."""
    figures = block_figures(choice.arch, choice.shape)
    width = min(max(8.0, 0.82 * len(figures) + 1.6), 15.0)
    figure = new_figure(width, 5.6)
    left, right = 1.2 / width, 1 - 0.15 / width
    with rc_context({**RC, "axes.grid": False}):
        for low, high, draw in (
            (0.705, 0.845, _draw_attention),
            (0.315, 0.685, _draw_tokens),
            (0.125, 0.305, _draw_table),
        ):
            axes = figure.add_axes((left, low, right - left, high - low))
            axes.set_xlim(-0.8, len(figures) - 0.4)
            draw(axes, figures)
        _write_title(figure, choice, score)
        rest, prefix = scale_of([float(rest_macs(choice.arch, choice.shape))])
        stem = f"{rest_macs(choice.arch, choice.shape) / rest:.3g}{prefix}"
        caption = _caption(figures, stem, choice.shape.prefix)
        lines = textwrap.fill(caption, int(width * 13.2))
        figure.text(
            0.15 / width, 0.012, lines, fontsize=9, color=GREY, va="bottom", linespacing=1.3
        )
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


def _write_title(figure: Figure, choice: Choice, score: Score) -> None:
    x = 0.15 / figure.get_figwidth()
    name = choice.name[:1].upper() + choice.name[1:]
    title = "Full network" if choice.full else name
    figure.text(x, 0.945, title, fontsize=14, fontweight="bold", color=INK)
    figure.text(x, 0.893, facts(choice, score), fontsize=10.5, color=INK)


def _draw_tokens(axes: Axes, figures: Sequence[BlockFigures]) -> None:
    most = max(each.before for each in figures)
    axes.set_ylim(0, 1.04 * most)
    axes.set_ylabel("patch tokens")
    axes.set_xticks([])
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
            _draw_pool(axes, i, each)


def _draw_pool(axes: Axes, i: int, each: BlockFigures) -> None:
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
        fontsize=9,
        color="#7A5200",
        fontweight="bold",
        linespacing=1.05,
        va="bottom",
        annotation_clip=False,
        zorder=6,
    )


def _draw_attention(axes: Axes, figures: Sequence[BlockFigures]) -> None:
    """A box for query and key of each block; a missing one with an arc from where its map comes."""
    axes.set_ylim(0, 1)
    axes.axis("off")
    axes.text(-0.88, 0.22, "attention", ha="right", va="center", fontsize=10)
    for i, each in enumerate(figures):
        own = each.producer is None
        axes.add_patch(
            FancyBboxPatch(
                (i - HALF + 0.03, 0.06),
                2 * HALF - 0.06,
                0.32,
                boxstyle="round,pad=0,rounding_size=0.06",
                facecolor=SKY if own else "white",
                edgecolor=BLUE if own else GREY,
                linestyle="-" if own else (0, (3, 2)),
                linewidth=1.1,
                mutation_aspect=2.0,
            )
        )
        text = axes.text(i, 0.215, "Q K", ha="center", va="center", fontsize=9)
        if each.producer is not None:
            text.set_text("no Q K")
            text.set_color(GREY)
            _draw_arc(axes, each.producer, i)


def _draw_arc(axes: Axes, producer: int, i: int) -> None:
    """An arc over the boxes; its height is the same however far it goes."""
    axes.add_patch(
        FancyArrowPatch(
            (producer + 0.08, 0.4),
            (i - 0.08, 0.4),
            connectionstyle=f"bar,angle=0,fraction={0.16 / (i - producer):.3f}",
            arrowstyle="-|>",
            mutation_scale=11,
            color=INK,
            linewidth=1.4,
            shrinkA=0,
            shrinkB=0,
        )
    )


def _draw_table(axes: Axes, figures: Sequence[BlockFigures]) -> None:
    """Rows of figures under the bars: block, tokens, bypass, selector, MACs."""
    scale, prefix = scale_of([float(each.macs) for each in figures])
    rows = [("block", [str(i) for i in range(len(figures))], INK)]
    rows.append(("works on", [f"{each.tokens}" for each in figures], BLUE))
    if any(each.bypass for each in figures):
        rows.append(
            ("bypass", [f"{each.bypass}" if each.bypass else "" for each in figures], ORANGE)
        )
        rows.append(("selector", [each.selector for each in figures], GREY))
    rows.append(
        (
            f"MACs ({prefix})" if prefix else "MACs",
            [f"{each.macs / scale:.3g}" for each in figures],
            INK,
        )
    )
    axes.set_ylim(-5, 0)
    axes.axis("off")
    for k, (name, cells, color) in enumerate(rows):
        y = -0.5 - k
        axes.text(-0.88, y, name, ha="right", va="center", fontsize=10, color=color)
        for i, text in enumerate(cells):
            axes.text(i, y, text, ha="center", va="center", fontsize=9.5, color=color)


def _caption(figures: Sequence[BlockFigures], stem: str, prefix: int) -> str:
    """What the marks of this picture mean; marks that are not in it are not explained."""
    parts = ["Images pass from left to right. Bar: patch tokens that the block works on"]
    if prefix:
        parts[0] += f" (and {prefix} prefix token{'s' if prefix > 1 else ''}, always)"
    if any(each.bypass for each in figures):
        parts.append(
            "Hatched: patch tokens that bypass the block unchanged; the selector chooses them"
        )
    if any(each.pool for each in figures):
        parts.append("Funnel: pooling before the block")
    if any(each.producer is not None for each in figures):
        parts.append(
            "Dashed box: the block has no query and key (Q K) and reuses the attention map of the "
            "block where the arrow begins"
        )
    parts.append(f"Stem and head take another {stem} MACs")
    return ". ".join(parts) + "."
