"""The picture of a front, with all that it is to be seen against."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from search.latency.costs import is_latency
from search.report.front_figures import FrontFigures, Move, Point
from search.report.labels import Label, place_labels
from search.report.measures import title
from search.report.style import BLUE, GREEN, GREY, INK, ORANGE, PALE, RC, new_figure, scale_of

# Archs far below all else would press what matters into a strip.
LOWEST = 0.05


def draw_front(figures: FrontFigures) -> Figure:
    """Score over cost: cloud, front, full network, hand-made archs, budget, retrained networks."""
    figure = new_figure(10, 6)
    with rc_context(RC):
        axes = figure.add_axes((0.075, 0.155, 0.91, 0.825))
        scale, prefix = scale_of([each.x for each in _all(figures)])
        labels = _draw_moves(axes, figures.moves, scale)
        labels += _draw_search(axes, figures, scale)
        unit = f" ({prefix})" if prefix else ""
        of = "" if is_latency(figures.cost) else " of one image"
        axes.set_xlabel(f"{title(figures.cost)}{unit}{of}")
        axes.set_ylabel(figures.score.title)
        _set_limits(axes, figures, scale)
        labels += _draw_limit(axes, figures, scale)
        cloud = zip(*_columns(figures.cloud, scale), strict=True)
        place_labels(axes, labels, _obstacles(axes, figures, scale), cloud)
        figure.text(0.01, 0.018, _caption(figures), fontsize=9, color=GREY)
    return figure


def _draw_search(axes: Axes, figures: FrontFigures, scale: float) -> list[Label]:
    labels = []
    cloud, front = _columns(figures.cloud, scale), _columns(figures.front, scale)
    axes.scatter(*cloud, s=14, color=PALE, linewidths=0, zorder=1)
    if figures.two:
        axes.plot(*front, color=BLUE, lw=1.8, drawstyle="steps-post", zorder=3)
    axes.plot(*front, "o", color=BLUE, ms=5, zorder=4)
    if figures.full:
        x, y = figures.full.x / scale, figures.full.y
        axes.plot(x, y, "*", color=INK, ms=17, mec="white", mew=0.8, zorder=7)
        labels.append(Label(x, y, "full network", INK, bold=True))
    for point in figures.hand_made:
        x, y = point.x / scale, point.y
        axes.plot(x, y, "D", color=GREEN, ms=7, mec="white", mew=0.8, zorder=5)
        labels.append(Label(x, y, point.name, GREEN))
    if figures.front:
        middle = figures.front[len(figures.front) // 3]
        labels.insert(0, Label(middle.x / scale, middle.y, "front", BLUE, bold=True))
    behind = set(figures.cloud) - set(figures.front)
    if behind:
        far = min(behind, key=lambda each: (_distance(each, figures), each))
        labels.append(Label(far.x / scale, far.y, "all evaluated", GREY))
    return labels


def _draw_moves(axes: Axes, moves: Sequence[Move], scale: float) -> list[Label]:
    labels = []
    # The found ones stand in front.
    for before, after, hand_made in sorted(moves, key=lambda move: not move.hand_made):
        color, x = GREEN if hand_made else ORANGE, after.x / scale
        axes.plot(x, after.y, "s", color=color, ms=8.5, mec="white", mew=0.8, zorder=8)
        if before is not None:
            axes.plot(x, before.y, "s", mfc="white", mec=color, mew=1.4, ms=7, zorder=6)
            axes.annotate(
                "",
                (x, after.y),
                (x, before.y),
                arrowprops={
                    "arrowstyle": "-|>",
                    "color": color,
                    "lw": 1.5,
                    "shrinkA": 3,
                    "shrinkB": 4,
                },
                zorder=6,
            )
        labels.append(Label(x, after.y, after.name, color, not hand_made))
    return labels[::-1]


def _draw_limit(axes: Axes, figures: FrontFigures, scale: float) -> list[Label]:
    if figures.limit is None:
        return []
    x = figures.limit / scale
    axes.axvline(x, color=INK, lw=1.2, ls=(0, (5, 3)), zorder=2)
    low, high = axes.get_ylim()
    return [Label(x, low + 0.04 * (high - low), "budget", INK)]


def _set_limits(axes: Axes, figures: FrontFigures, scale: float) -> None:
    """Room for labels on all sides; the worst of the cloud may stay below."""
    important = _important(figures)
    ys = [each.y for each in important]
    if figures.cloud:
        edge = LOWEST if figures.score.better == "max" else 1 - LOWEST
        cut = float(np.quantile([each.y for each in figures.cloud], edge))
        ys.append(min(cut, *ys) if figures.score.better == "max" else max(cut, *ys))
    xs = [each.x / scale for each in (*important, *figures.cloud)]
    if figures.limit is not None:
        xs.append(figures.limit / scale)
    for values, set_limits, margin in ((xs, axes.set_xlim, 0.06), (ys, axes.set_ylim, 0.07)):
        if values:
            low, high = min(values), max(values)
            room = margin * (high - low) or 0.05 * abs(high) or 1.0
            set_limits(low - room, high + room)
    _tell_hidden(axes, figures)


def _tell_hidden(axes: Axes, figures: FrontFigures) -> None:
    low, high = axes.get_ylim()
    count = sum(not low <= each.y <= high for each in figures.cloud)
    if count:
        side = "below" if figures.score.better == "max" else "above"
        text = f"{count:,} evaluated archs lie {side} the picture"
        axes.text(
            0.995, 0.012, text, transform=axes.transAxes, ha="right", color=GREY, fontsize=8.5
        )


def _important(figures: FrontFigures) -> list[Point]:
    """All but the cloud; the front comes first."""
    ends = [point for move in figures.moves for point in (move.before, move.after) if point]
    full = [figures.full] if figures.full else []
    return [*figures.front, *full, *figures.hand_made, *ends]


def _all(figures: FrontFigures) -> list[Point]:
    return [*figures.cloud, *_important(figures)]


def _columns(points: Sequence[Point], scale: float) -> tuple[list[float], list[float]]:
    return [each.x / scale for each in points], [each.y for each in points]


def _distance(point: Point, figures: FrontFigures) -> float:
    """How far a point is from the middle of the cloud's upper right, in shares of its extent."""
    xs, ys = zip(*((each.x, each.y) for each in figures.cloud), strict=True)
    x = float(np.quantile(xs, 0.7))
    y = float(np.quantile(ys, 0.3 if figures.score.better == "max" else 0.7))
    wide, high = max(xs) - min(xs) or 1.0, max(ys) - min(ys) or 1.0
    return ((point.x - x) / wide) ** 2 + ((point.y - y) / high) ** 2


def _obstacles(axes: Axes, figures: FrontFigures, scale: float) -> list[tuple[float, float]]:
    """Markers, and points along lines, that labels keep off."""
    found = [(each.x / scale, each.y) for each in _important(figures)]
    for (x, y), (to, high) in pairwise(found[: len(figures.front)]):
        found += [(x + (to - x) * share, y) for share in np.linspace(0, 1, 12)]
        found += [(to, y + (high - y) * share) for share in np.linspace(0, 1, 5)]
    for before, after, _ in figures.moves:
        if before is not None:
            found += [(after.x / scale, y) for y in np.linspace(before.y, after.y, 12)]
    if figures.limit is not None:
        found += [(figures.limit / scale, y) for y in np.linspace(*axes.get_ylim(), 50)]
    return found


def _caption(figures: FrontFigures) -> str:
    """Which images the figures are of, and which milliseconds were measured."""
    says = "All figures are of the search split."
    if figures.moves:
        inherited = any(each.before for each in figures.moves)
        arrows = " (hollow: with inherited weights)" if inherited else ""
        says = f"Squares: retrained networks, on the test split{arrows}. All else: search split."
    if is_latency(figures.cost):
        says += " Front by measured ms." if figures.timed else " Front by predicted ms."
    return says
