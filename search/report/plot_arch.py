"""The plot of an arch: patch tokens of each block, above a table of its blocks."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from search.report.arch_data import BlockData, collect_arch_data
from search.report.networks import Network
from search.report.search_result import Score
from search.report.style import AMBER, BLUE, ORANGE
from search.utils.units import quantity

# Half the width of a bar, in blocks.
HALF = 0.34


def draw_arch(network: Network, score: Score) -> Figure:
    """Draw an arch: bars for tokens, funnels for pooling, hatching for skips, a table beneath."""
    blocks = collect_arch_data(network.arch, network.shape)
    figure = Figure(figsize=(min(max(9.0, 0.82 * len(blocks) + 1.6), 15.0), 4.6))
    axes = figure.add_subplot()
    axes.grid(visible=False)
    # Deep archs have narrow columns.
    size = min(9.0, 210 / len(blocks))
    _draw_tokens(axes, blocks)
    for i, each in enumerate(blocks):
        if each.pool:
            _draw_pool(axes, i, each, size)
    _draw_table(axes, blocks, size)
    axes.set_title(network.label, pad=24)
    details = _describe_network(network, score)
    axes.annotate(details, (0, 1), (0, 8), xycoords="axes fraction", textcoords="offset points")
    axes.legend(loc="upper right", ncols=2)
    return figure


def _draw_tokens(axes: Axes, blocks: Sequence[BlockData]) -> None:
    axes.set_xlim(-0.8, len(blocks) - 0.4)
    # Leaves space for the label of a pooling.
    axes.set_ylim(0, 1.25 * max(each.tokens_before for each in blocks))
    axes.set_ylabel("patch tokens")
    tokens = [each.tokens for each in blocks]
    axes.bar(range(len(blocks)), tokens, 2 * HALF, color=BLUE, label="the block works on")
    skipping = [i for i, each in enumerate(blocks) if each.bypass]
    if skipping:
        axes.bar(
            skipping,
            [blocks[i].bypass for i in skipping],
            2 * HALF,
            bottom=[blocks[i].tokens for i in skipping],
            facecolor="white",
            edgecolor=ORANGE,
            hatch="////",
            label="bypass it",
        )


def _draw_pool(axes: Axes, i: int, block: BlockData, size: float) -> None:
    """Draw a funnel from the tokens before a pooling to those after it, with a label above."""
    after = block.tokens + block.bypass
    left, right = i - 1 + HALF if i else -0.75, i - HALF
    axes.fill([left, left, right, right], [0, block.tokens_before, after, 0], color=AMBER, lw=0)
    style = {"va": "bottom", "fontsize": size, "fontweight": "bold", "color": "#7A5200"}
    axes.text(right, after, block.pool, style)


def _draw_table(axes: Axes, blocks: Sequence[BlockData], size: float) -> None:
    """Draw a table as labels of the x axis: a column for each block, a line for each row."""
    rows = {
        "block": [str(i) for i in range(len(blocks))],
        "works on": [str(each.tokens) for each in blocks],
        "bypass": [str(each.bypass or "") for each in blocks],
        "selector": [each.selector.replace("\n", " ") for each in blocks],
        "maps of": ["" if each.producer is None else str(each.producer) for each in blocks],
        "MACs": [quantity(each.macs, 3) for each in blocks],
    }
    rows = {name: cells for name, cells in rows.items() if any(cells)}
    columns = zip(*rows.values(), strict=True)
    labels = ["\n".join(rows), *("\n".join(column) for column in columns)]
    axes.set_xticks([-0.6, *range(len(blocks))], labels, fontsize=size)
    axes.get_xticklabels()[0].set_horizontalalignment("right")
    axes.tick_params(axis="x", length=0)


def _describe_network(network: Network, score: Score) -> str:
    """Describe MACs, parameters and accuracy in a line."""
    words = [
        f"{quantity(network.macs, 3)} MACs ({network.mac_share:.0%} of full)",
        f"{quantity(network.params, 3)} parameters",
    ]
    test_scores = [
        f"{score.format(metrics)} {kind}"
        for kind, metrics in (("inherited", network.inherited), ("retrained", network.retrained))
        if score.name in metrics
    ]
    if test_scores:
        words.append(f"test {score.title} {', '.join(test_scores)}")
    elif score.name in network.search:
        words.append(f"{score.title} {score.format(network.search)} on the search split")
    return "  ·  ".join(words)
