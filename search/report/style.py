"""The style of plots: colours for colour-blind readers, legends, and atomic PNG files."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.legend import Legend
from matplotlib.ticker import FuncFormatter, MaxNLocator

from space.utils.atomic import replacing

# Okabe and Ito's palette without its yellow, which is invisible on white.
BLUE, ORANGE, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#AA4499"
SKY, AMBER = "#8CC8EC", "#E69F00"
INK, GREY, PALE = "#1A1A1A", "#6B6B6B", "#C9C9C9"

DPI = 120
# Any: matplotlib types the keys as a Literal.
RC: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 10.5,
    "hatch.linewidth": 1.2,
    # Names come from files and may hold dollar signs.
    "text.parse_math": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.8,
}


def new_figure(width: float, height: float, h_pad: float = 0.12) -> Figure:
    """Make an empty figure with constrained layout.

    matplotlib reads styles when axes are made: decorate functions that add axes with
    `rc_context(RC)`.

    Args:
        width, height: Size in inches.
        h_pad: Inches above and below each panel.
    """
    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=h_pad, wspace=0.03, hspace=0.03)
    return Figure(figsize=(width, height), dpi=DPI, facecolor="white", layout=layout)


def add_outside_legend(axes: Axes) -> Legend:
    """Add a legend to the right of a panel, in smaller type where it is long."""
    labels = axes.get_legend_handles_labels()[1]
    rows = sum(1 + label.count("\n") for label in labels)
    height = axes.get_window_extent().height / DPI * 72
    return axes.legend(
        loc="upper left",
        bbox_to_anchor=(1.01, 1.03),
        borderaxespad=0,
        fontsize=min(9.5, height / (1.45 * max(rows, 1))),
        frameon=False,
    )


def make_color_ramp(count: int) -> list[str]:
    """Return `count` colours from dark to light, for ordered lines."""
    return [to_hex(colormaps["viridis"](0.05 + 0.75 * i / max(count - 1, 1))) for i in range(count)]


def use_whole_numbers(axes: Axes, most: int = 10) -> None:
    """Put the ticks of the x axis at integers."""
    axes.xaxis.set_major_locator(MaxNLocator(nbins=most, integer=True, min_n_ticks=1))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def save_png(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, atomically."""
    buffer = io.BytesIO()
    with rc_context(RC), replacing(path) as file:
        # Without metadata, equal figures give equal bytes.
        figure.savefig(buffer, format="png", metadata={"Software": None})
        file.write(buffer.getvalue())
