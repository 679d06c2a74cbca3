"""How the pictures look: colours that colour-blind people tell apart, and PNGs written whole."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from matplotlib import rc_context
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, MaxNLocator

from space.writing import replacing

# Okabe and Ito's palette, apart from its yellow, which white paper swallows.
BLUE, ORANGE, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#AA4499"
SKY, AMBER = "#8CC8EC", "#E69F00"
INK, GREY, PALE = "#1A1A1A", "#6B6B6B", "#C9C9C9"

DPI = 120
# Of a character, bold ones too, as a share of its size.
WIDE = 0.66
Layout = Literal["constrained"]
# Any: the names that matplotlib allows as keys are a type of its own that a plain dict is not.
RC: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 10.5,
    "hatch.linewidth": 1.2,
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


def new_figure(width: float, height: float, layout: Layout | None = None) -> Figure:
    """An empty figure with a canvas of its own; sizes in inches.

    With the constrained layout nothing that is said runs over panels and edges.

    Styles count when axes are made, so axes are to be added inside `rc_context(RC)`.
    """
    with rc_context(RC):
        figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white", layout=layout)
    engine = figure.get_layout_engine()
    if isinstance(engine, ConstrainedLayoutEngine):
        engine.set(w_pad=0.12, h_pad=0.12, wspace=0.03, hspace=0.03)
    FigureCanvasAgg(figure)
    return figure


def outside_legend(of: Figure | Axes, lines: Sequence[Artist]) -> None:
    """A legend to the right of a figure or of one of its panels, where it covers nothing."""
    rows = sum(1 + str(line.get_label()).count("\n") for line in lines)
    height = of.get_window_extent().height / DPI * 72
    size = min(9.5, height / (1.45 * max(rows, 1)))
    common: dict[str, Any] = {"handles": list(lines), "fontsize": size, "frameon": False}
    if isinstance(of, Figure):
        of.legend(loc="outside right upper", **common)
    else:
        of.legend(loc="upper left", bbox_to_anchor=(1.01, 1.03), borderaxespad=0, **common)


def below_legend(axes: Axes, columns: int) -> None:
    """A legend under the x axis of a panel, where it covers nothing."""
    axes.legend(
        loc="upper left", bbox_to_anchor=(0, -0.14), ncols=columns, fontsize=9, frameon=False
    )


def fitting(text: str, size: float, inches: float) -> float:
    """The size, in points, at which a line is no longer than so many inches."""
    return min(size, inches * 72 / (WIDE * max(len(text), 1)))


def save_png(figure: Figure, path: Path) -> bytes:
    """Draw a figure and write it; gives the PNG's bytes."""
    buffer = io.BytesIO()
    with rc_context(RC):
        # No software and date in the file: the same figures give the same bytes.
        figure.savefig(buffer, format="png", metadata={"Software": None})
    data = buffer.getvalue()
    with replacing(path) as file:
        file.write(data)
    return data


def ramp(count: int) -> list[str]:
    """So many colours from dark to light, even in brightness, for things that have an order."""
    from matplotlib import colormaps  # noqa: PLC0415 - loads all maps

    chosen = colormaps["viridis"]
    return [to_hex(chosen(0.05 + 0.75 * i / max(count - 1, 1))) for i in range(count)]


def whole_numbers(axes: Axes, most: int = 10) -> None:
    """Ticks of the x axis at integers: epochs, evaluations."""
    axes.xaxis.set_major_locator(MaxNLocator(nbins=most, integer=True, min_n_ticks=1))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def scale_of(values: list[float]) -> tuple[float, str]:
    """What to divide values by, and the prefix that stands for it: (1e9, "G")."""
    most = max(map(abs, values), default=0.0)
    for size, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if most >= size:
            return size, prefix
    return 1.0, ""
