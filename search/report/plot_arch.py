"""The plot of one arch: its tokens and attention, block by block."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Polygon
from matplotlib.ticker import MaxNLocator

from search.report.arch_data import ArchData, BlockData, collect_arch_data
from search.report.networks import Network
from search.report.score import Score
from search.report.style import AMBER, BLUE, GREY, INK, ORANGE, RC, SKY, new_figure
from search.utils.units import quantity

HALF = 0.34  # half of a bar's width, in blocks
ROUND = "round,pad=0,rounding_size=0.06"
# From this number of blocks on, labels are short.
MANY = 18
# Upper bound of a character's width as a share of the font size.
CHARACTER = 0.66


@rc_context({**RC, "axes.grid": False})
def draw_arch(network: Network, score: Score) -> Figure:
    """Draw an arch: bars of tokens, funnels for pooling, hatched bypasses, arcs for sharing."""
    data = collect_arch_data(network.arch, network.shape)
    count = len(data.blocks)
    width = min(max(9.0, 0.82 * count + 1.6), 15.0)
    rows = _table_rows(data.blocks)
    heights = (0.58 if _shares(data.blocks) else 0.28, 2.2, 0.2 * len(rows))
    caption = textwrap.fill(_caption(data), int(width * 13))
    figure = new_figure(width, sum(heights) + 1.4 + 0.18 * caption.count("\n"), h_pad=0.08)
    attention, tokens, table = figure.subplots(3, 1, sharex=True, height_ratios=heights)
    tokens.set_xlim(-0.8, count - 0.4)
    _draw_attention(attention, data.blocks)
    _draw_tokens(tokens, data.blocks)
    _draw_table(table, rows, inches=(width - 1.6) / count)
    details, size = _describe_network(network, score), _fit(network.title, 14, width - 1.2)
    attention.set_title(network.title, loc="left", fontsize=size, fontweight="bold", pad=32)
    attention.annotate(
        details,
        (0, 1),
        (0, 10),
        xycoords="axes fraction",
        textcoords="offset points",
        fontsize=_fit(details, 10.5, width - 1.2),
    )
    figure.supxlabel(caption, x=0.01, ha="left", fontsize=9, color=GREY, linespacing=1.3)
    return figure


def _describe_network(network: Network, score: Score) -> str:
    """Describe MACs, parameters and accuracy in a line."""
    of_full = "" if network.is_full else f", {network.mac_share:.0%} of the full network"
    words = [
        f"{quantity(network.macs, 3)} MACs{of_full}",
        f"{quantity(network.params, 3)} parameters",
    ]
    tested = [
        f"{score.format(metrics[score.name])} {kind}"
        for kind, metrics in (("inherited", network.inherited), ("retrained", network.retrained))
        if score.name in metrics
    ]
    if tested:
        words.append(f"test {score.title} {', '.join(tested)}")
    elif score.name in network.search:
        value = score.format(network.search[score.name])
        words.append(f"{score.title} {value} on the search split")
    return "  ·  ".join(words)


def _fit(text: str, size: float, inches: float) -> float:
    """Return a font size, in points, at which a line of text fits a width."""
    return min(size, 72 * inches / (CHARACTER * len(text)))


def _shares(blocks: Sequence[BlockData]) -> bool:
    return any(each.producer is not None for each in blocks)


def _draw_tokens(axes: Axes, blocks: Sequence[BlockData]) -> None:
    axes.set_ylim(0, 1.04 * max(each.tokens_before for each in blocks))
    axes.set_ylabel("patch tokens")
    axes.tick_params(axis="x", length=0, labelbottom=False)
    axes.tick_params(axis="y", labelsize=9)
    axes.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    places, tokens = range(len(blocks)), [each.tokens for each in blocks]
    axes.bar(places, tokens, 2 * HALF, color=BLUE, zorder=3)
    for i, each in enumerate(blocks):
        if each.bypass:
            hatched: dict[str, Any] = {"fc": "white", "ec": ORANGE, "hatch": "////", "lw": 1.2}
            axes.bar(i, each.bypass, 2 * HALF, bottom=each.tokens, zorder=3, **hatched)
        if each.pool:
            _draw_pool(axes, i, each, 7.8 if len(blocks) >= MANY else 9.0)


def _draw_pool(axes: Axes, i: int, block: BlockData, size: float) -> None:
    """Draw a funnel from the tokens before a pooling to those after, with a label above."""
    after = block.tokens + block.bypass
    start = i - 1 + HALF if i else -0.75
    corners = [(start, 0), (start, block.tokens_before), (i - HALF, after), (i - HALF, 0)]
    axes.add_patch(Polygon(corners, facecolor=AMBER, edgecolor="none", zorder=2))
    axes.annotate(
        block.pool,
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


def _draw_attention(axes: Axes, blocks: Sequence[BlockData]) -> None:
    """Draw a box for query and key of each block, dashed with an arc where maps are reused."""
    axes.set_ylim(0, 0.58 if _shares(blocks) else 0.28)
    axes.axis("off")
    axes.text(-0.88, 0.14, "attention", ha="right", va="center", fontsize=10)
    own_text, shared_text, size = ("QK", "-", 7.5) if len(blocks) >= MANY else ("Q K", "no Q K", 9)
    for i, each in enumerate(blocks):
        own = each.producer is None
        look: dict[str, Any] = {"fc": SKY, "ec": BLUE}
        if not own:
            look = {"fc": "white", "ec": GREY, "ls": (0, (3, 2))}
        corner = i - HALF + 0.03, 0.02
        box = FancyBboxPatch(corner, 2 * HALF - 0.06, 0.24, ROUND, mutation_aspect=0.8, **look)
        axes.add_patch(box)
        text, color = (own_text, INK) if own else (shared_text, GREY)
        axes.text(i, 0.135, text, ha="center", va="center", fontsize=size, color=color)
        if each.producer is not None:
            _draw_arc(axes, each.producer, i)


def _draw_arc(axes: Axes, producer: int, i: int) -> None:
    """Draw an arrow over the boxes from a block to one that reuses its maps."""
    top = 0.4 + 0.06 * min(i - producer - 1, 2)
    start, end = producer + 0.12, i - 0.05
    axes.plot([start, start, end], [0.27, top, top], color=INK, lw=1.4, solid_joinstyle="round")
    arrow = {"arrowstyle": "-|>", "color": INK, "lw": 1.4, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", (end, 0.265), (end, top), arrowprops=arrow)


def _table_rows(blocks: Sequence[BlockData]) -> list[tuple[str, list[str], str]]:
    """Make the table's rows: name, a cell for each block, colour."""
    rows = [
        ("block", [str(i) for i in range(len(blocks))], INK),
        ("works on", [str(each.tokens) for each in blocks], BLUE),
    ]
    if any(each.bypass for each in blocks):
        rows.append(("bypass", [str(each.bypass or "") for each in blocks], ORANGE))
        rows.append(("selector", [each.selector for each in blocks], GREY))
    return [*rows, ("MACs", [quantity(each.macs, 3) for each in blocks], INK)]


def _draw_table(axes: Axes, rows: Sequence[tuple[str, list[str], str]], inches: float) -> None:
    """Draw the table's rows, each cell under its bar; `inches` is the width of a column."""
    longest = max((text for _, cells, _ in rows for text in cells), key=len)
    size = _fit(f"{longest} ", 9.5, inches)
    axes.set_ylim(-len(rows), 0)
    axes.axis("off")
    for k, (name, cells, color) in enumerate(rows):
        axes.text(-0.88, -0.5 - k, name, ha="right", va="center", fontsize=10, color=color)
        for i, text in enumerate(cells):
            axes.text(i, -0.5 - k, text, ha="center", va="center", fontsize=size, color=color)


def _caption(data: ArchData) -> str:
    """Explain the marks that this plot has."""
    parts = ["Images pass from left to right. Bar: patch tokens that the block works on"]
    if data.prefix:
        parts[0] += f" (and {data.prefix} prefix token{'s' * (data.prefix > 1)}, always)"
    parts += data.captions
    parts.append(f"Stem and head take another {quantity(data.rest_macs, 3)} MACs")
    return ". ".join(parts) + "."
