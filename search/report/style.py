"""The style of plots, with colours for colour-blind readers, and their PNG encoding."""

from __future__ import annotations

import io
from typing import Any

from matplotlib.figure import Figure

# Okabe and Ito's palette without its yellow, which is invisible on white.
BLUE, ORANGE, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#AA4499"
SKY, AMBER = "#8CC8EC", "#E69F00"
INK, GREY, PALE = "#1A1A1A", "#6B6B6B", "#C9C9C9"

# `write_plots` draws all plots in it: matplotlib reads styles when it makes and renders a figure.
# Any: matplotlib types the keys as a Literal.
RC: Any = {
    "figure.dpi": 120,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.h_pad": 0.12,
    "figure.constrained_layout.w_pad": 0.12,
    "font.size": 10.5,
    "hatch.linewidth": 1.2,
    "legend.frameon": False,
    "legend.fontsize": 9,
    # Names come from files and may hold dollar signs.
    "text.parse_math": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
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
# Arguments of a legend to the right of a panel.
OUTSIDE: Any = {"loc": "upper left", "bbox_to_anchor": (1.01, 1.03), "borderaxespad": 0}


def to_png(figure: Figure) -> bytes:
    """Encode a figure as PNG, without metadata: equal figures give equal bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
