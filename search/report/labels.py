"""Labels that stand beside what they name, and keep out of each other's way."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke
from matplotlib.text import Annotation

from search.report.style import GREY

DIRECTIONS: tuple[tuple[float, float], ...] = (
    *((1, 0), (-1, 0), (1, 0.35), (1, -0.35), (-1, 0.35), (-1, -0.35)),
    *((0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1), (0.4, 1), (-0.4, 1), (0.4, -1)),
)
DISTANCES = (9, 14, 22, 34, 50, 70, 95)
# Pixels between a label and its point from which on a line joins them.
APART = 15


Floats = np.ndarray[Any, np.dtype[np.float64]]


class Label(NamedTuple):
    """A text and the point that it names, in data units."""

    x: float
    y: float
    text: str
    color: str = GREY
    bold: bool = False


class _Box(NamedTuple):
    """A rectangle in pixels."""

    left: float
    low: float
    right: float
    top: float

    def nearest(self, x: float, y: float) -> tuple[float, float]:
        """The place in it that is nearest to a point."""
        return min(max(x, self.left), self.right), min(max(y, self.low), self.top)

    def overlap(self, other: _Box) -> float:
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.top, other.top) - max(self.low, other.low)
        return max(width, 0.0) * max(height, 0.0)


class _Scene(NamedTuple):
    """What labels keep off, in pixels: labels before them, points by weight, the frame."""

    taken: list[_Box]
    points: Floats
    weights: Floats
    frame: _Box


def place_labels(
    axes: Axes,
    labels: Sequence[Label],
    obstacles: Iterable[tuple[float, float]],
    backdrop: Iterable[tuple[float, float]] = (),
) -> None:
    """Write each label where it covers least: of other labels, of points, of the frame.

    Call it when the limits of the axes are final.

    Args:
        axes: to write on.
        labels: the most important first.
        obstacles: points that should stay in sight, in data units.
        backdrop: points that may be covered where there is no better place.
    """
    _settle(axes)
    firm = [*obstacles, *((label.x, label.y) for label in labels)]
    behind = list(backdrop)
    points = axes.transData.transform(np.array([*firm, *behind]).reshape(-1, 2))
    weights = np.array([3.0] * len(firm) + [0.3] * len(behind))
    scene = _Scene([], points, weights, _Box(*axes.bbox.extents))
    for label in labels:
        note = _write(axes, label)
        at = tuple(axes.transData.transform((label.x, label.y)))
        ranked = (
            (_cost(box, at, scene), i, offset, box)
            for i, (offset, box) in enumerate(_candidates(note, axes))
        )
        _, _, offset, box = min(ranked)
        note.set_position(offset)
        scene.taken.append(box)
        if np.hypot(*np.subtract(box.nearest(*at), at)) > APART:
            _leader(axes, label, box.nearest(*at))


def spread(places: Sequence[float], least: float, low: float, high: float) -> list[float]:
    """Places moved as little as needs be so that neighbours are `least` apart, inside [low, high].

    Where there is no room for that, they stand at even distances.
    """
    count = len(places)
    if not count:
        return []
    if (count - 1) * least >= high - low:
        least = (high - low) / max(count - 1, 1)
    order = sorted(range(count), key=lambda i: places[i])

    def middle(group: tuple[float, int]) -> float:
        """Where a group of labels, given the sum of their places, is centred."""
        total, size = group
        half = (size - 1) * least / 2
        return min(max(total / size, low + half), high - half)

    # Neighbours that would touch become a group, which stands around the mean of its places.
    groups: list[tuple[float, int]] = []
    for i in order:
        groups.append((places[i], 1))
        while len(groups) > 1:
            before, last = groups[-2:]
            if middle(last) - middle(before) >= (before[1] + last[1]) / 2 * least:
                break
            groups[-2:] = [(before[0] + last[0], before[1] + last[1])]
    moved = [
        middle(each) + (k - (each[1] - 1) / 2) * least for each in groups for k in range(each[1])
    ]
    found = [0.0] * count
    for i, place in zip(order, moved, strict=True):
        found[i] = place
    return found


def label_ends(axes: Axes, labels: Sequence[Label], size: float = 10.0) -> None:
    """Write labels to the right of the axes, at the height where their lines end."""
    _settle(axes)
    pixel = axes.figure.dpi / 72
    heights = [float(axes.transData.transform((label.x, label.y))[1]) for label in labels]
    box = axes.bbox
    moved = spread(heights, 1.25 * size * pixel, box.y0, box.y1)
    for label, height, place in zip(labels, heights, moved, strict=True):
        line = {"color": label.color, "lw": 0.7, "shrinkA": 0, "shrinkB": 2, "relpos": (0, 0.5)}
        axes.annotate(
            label.text,
            (label.x, label.y),
            (box.x1 + 12 * pixel, place),
            textcoords="figure pixels",
            ha="left",
            va="center",
            color=label.color,
            fontsize=size,
            fontweight="bold" if label.bold else "normal",
            arrowprops={"arrowstyle": "-", **line} if abs(place - height) > 3 * pixel else None,
            annotation_clip=False,
        )


def _settle(axes: Axes) -> None:
    """Have limits that follow the data worked out now: matplotlib puts it off until it draws."""
    axes.get_xlim()
    axes.get_ylim()


def _write(axes: Axes, label: Label) -> Annotation:
    return axes.annotate(
        label.text,
        (label.x, label.y),
        (0, 0),
        textcoords="offset points",
        ha="left",
        va="bottom",
        color=label.color,
        fontsize=9.5,
        fontweight="bold" if label.bold else "normal",
        zorder=9,
        path_effects=[withStroke(linewidth=2.5, foreground="white")],
    )


def _candidates(note: Annotation, axes: Axes) -> list[tuple[tuple[float, float], _Box]]:
    """Offsets in points of the text's lower left corner, with the boxes that they give."""
    figure: Any = axes.figure
    pixel = figure.dpi / 72
    extent = note.get_window_extent(figure.canvas.get_renderer())
    width, height = extent.width / pixel, extent.height / pixel
    found: list[tuple[tuple[float, float], _Box]] = []
    for distance in DISTANCES:
        for dx, dy in DIRECTIONS:
            x = dx * distance - (0 if dx > 0 else width if dx < 0 else width / 2)
            y = dy * distance - height / 2
            left, low = extent.x0 + x * pixel, extent.y0 + y * pixel
            box = _Box(left - 2, low - 2, left + extent.width + 2, low + extent.height + 2)
            found.append(((x, y), box))
    return found


def _cost(box: _Box, at: tuple[float, ...], scene: _Scene) -> float:
    """How bad a place is: what it covers, and how far it is from its point."""
    area = (box.right - box.left) * (box.top - box.low)
    covered = sum(box.overlap(other) for other in scene.taken) / area
    low, high = (box.left - 3, box.low - 3), (box.right + 3, box.top + 3)
    inside = (scene.points >= low) & (scene.points <= high)
    outside = 1 - box.overlap(scene.frame) / area
    hidden = scene.weights[inside.all(axis=1)].sum()
    away = np.hypot(*np.subtract(box.nearest(*at), at))
    return float(40 * covered + 60 * outside + hidden + away / 12)


def _leader(axes: Axes, label: Label, start: tuple[float, float]) -> None:
    """A thin line from the edge of a label that stands apart to its point."""
    line = {"arrowstyle": "-", "color": label.color, "lw": 0.7, "shrinkA": 0, "shrinkB": 4}
    axes.annotate(
        "",
        (label.x, label.y),
        start,
        textcoords="figure pixels",
        arrowprops=line,
        zorder=4,
    )
