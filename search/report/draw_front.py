"""The picture of a front, with all that it is to be seen against."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from search.latency.costs import is_latency
from search.leads import NOT_TOLD_APART
from search.report.front_figures import FrontFigures, Move, Point
from search.report.measures import title
from search.report.style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PALE,
    RC,
    new_figure,
    outside_legend,
    scale_of,
)

# Archs far below all else would press what matters into a strip.
LOWEST = 0.05
# Points between two numbers that are not printed over each other.
APART = 11
DOT, STAR = 5.5, 15
PLAIN: dict[str, Any] = {"ls": "", "mec": "white", "mew": 0.8}


class Numbered(NamedTuple):
    """A point with a number, which the legend explains."""

    x: float
    y: float
    color: str


def draw_front(figures: FrontFigures) -> Figure:
    """Score over cost: cloud, front, full network, hand-made archs, budget, retrained networks."""
    figure = new_figure(10, 6, layout="constrained")
    with rc_context(RC):
        axes = figure.add_subplot()
        scale, prefix = scale_of([each.x for each in _all(figures)])
        axes.set_xlabel(_cost_title(figures, prefix))
        axes.set_ylabel(figures.score.axis)
        numbered: list[Numbered] = []
        legend = [
            *_draw_search(axes, figures, scale, numbered),
            *_draw_moves(axes, figures, scale, numbered),
        ]
        _set_limits(axes, figures, scale)
        outside_legend(figure, legend)
        befores = [move.before for move in figures.moves if move.before]
        plain = zip(*_columns([*befores, *figures.front], scale), strict=True)
        _draw_numbers(axes, numbered, list(plain))
    return figure


def _cost_title(figures: FrontFigures, prefix: str) -> str:
    unit = f" ({prefix})" if prefix else ""
    of = "" if is_latency(figures.cost) else " of one image"
    return f"{title(figures.cost)}{unit}{of}"


def _draw_search(
    axes: Axes, figures: FrontFigures, scale: float, numbered: list[Numbered]
) -> Iterable[Line2D]:
    """What is of the search split; gives the lines of the legend."""
    cloud, front = _columns(figures.cloud, scale), _columns(figures.front, scale)
    yield _heading("search split", figures.images)
    if figures.front:
        line, says = "-" if figures.two else "", "front"
        if is_latency(figures.cost):
            says += f", {'measured' if figures.timed else 'predicted'} ms"
        if line:
            axes.plot(*front, color=BLUE, lw=1.8, drawstyle="steps-post", zorder=3)
        axes.plot(*front, "o", color=BLUE, ms=DOT, zorder=4)
        yield Line2D([], [], color=BLUE, ls=line, lw=1.8, marker="o", ms=DOT, label=says)
    if figures.close:
        hollow: dict[str, Any] = {"ls": "", "marker": "o", "mfc": "white", "mec": BLUE, "mew": 1.5}
        axes.plot(*_columns(figures.close, scale), ms=DOT, zorder=4.5, **hollow)
        says = f"not told apart from\nthe next best ({NOT_TOLD_APART})"
        yield Line2D([], [], ms=DOT, label=says, **hollow)
    if figures.cloud:
        axes.scatter(*cloud, s=14, color=PALE, linewidths=0, zorder=1)
        yield Line2D([], [], ls="", marker="o", color=PALE, ms=4, label=_says_cloud(figures))
    if figures.full:
        star: dict[str, Any] = {**PLAIN, "marker": "*", "color": INK, "ms": STAR}
        axes.plot(figures.full.x / scale, figures.full.y, zorder=7, **star)
        yield Line2D([], [], label="full network", **star)
    if figures.limit is not None:
        dashes: dict[str, Any] = {"color": INK, "lw": 1.2, "ls": (0, (5, 3))}
        axes.axvline(figures.limit / scale, zorder=2, **dashes)
        yield Line2D([], [], label="budget", **dashes)
    for point in figures.hand_made:
        numbered.append(Numbered(point.x / scale, point.y, GREEN))
        diamond: dict[str, Any] = {**PLAIN, "marker": "D", "color": GREEN}
        axes.plot(point.x / scale, point.y, zorder=5, ms=9.5, **diamond)
        yield Line2D([], [], label=f"{len(numbered)}  {point.name}", ms=7, **diamond)


def _says_cloud(figures: FrontFigures) -> str:
    """How many archs of the cloud are out of sight."""
    low, high = _range(figures)
    count = sum(not low <= each.y <= high for each in figures.cloud)
    side = "below" if figures.score.better == "max" else "above"
    of = ", predicted ms" if is_latency(figures.cost) else ""
    return f"all evaluated{of}" + f"\n({count:,} more lie {side})" * bool(count)


def _draw_moves(
    axes: Axes, figures: FrontFigures, scale: float, numbered: list[Numbered]
) -> Iterable[Line2D]:
    """What is of the test split; gives the lines of the legend."""
    if figures.moves:
        yield _heading("test split", figures.test_images)
    for move in figures.moves:
        color = GREEN if move.control else ORANGE
        _draw_move(axes, move, scale, color)
        numbered.append(Numbered(move.after.x / scale, move.after.y, color))
        square: dict[str, Any] = {**PLAIN, "marker": "s", "color": color}
        yield Line2D([], [], ms=8, label=f"{len(numbered)}  {move.after.name}", **square)
    if any(move.before for move in figures.moves):
        hollow: dict[str, Any] = {"ls": "", "marker": "s", "mfc": "white", "mec": GREY, "ms": 6}
        yield Line2D([], [], label="before retraining", **hollow)


def _draw_move(axes: Axes, move: Move, scale: float, color: str) -> None:
    """A square where a network is after retraining, and an arrow from where it was before."""
    before, after, control = move
    # The found ones stand in front.
    front, x = 0.0 if control else 0.2, after.x / scale
    axes.plot(x, after.y, marker="s", color=color, ms=11, zorder=8 + front, **PLAIN)
    if before is not None:
        hollow: dict[str, Any] = {"mfc": "white", "mec": color, "mew": 1.4, "ms": 7}
        axes.plot(x, before.y, "s", zorder=6 + front, **hollow)
        arrow = {"arrowstyle": "-|>", "color": color, "lw": 1.5, "shrinkA": 3, "shrinkB": 5}
        axes.annotate("", (x, after.y), (x, before.y), arrowprops=arrow, zorder=6 + front)


def _draw_numbers(
    axes: Axes, numbered: Sequence[Numbered], others: Sequence[tuple[float, float]]
) -> None:
    """A number in each marker; where markers lie on each other, beside them and tied by a line.

    Args:
        axes: where the markers are.
        numbered: those with a number.
        others: places of markers without one.
    """
    figure: Any = axes.figure
    # Only then is it known where on the picture a point lies.
    figure.draw_without_rendering()
    pixel: float = figure.dpi / 72
    place = axes.transData.transform
    points = [place((point.x, point.y)) for point in numbered]
    taken = [*points, *map(place, others)]
    for number, (point, at) in enumerate(zip(numbered, points, strict=True), start=1):
        alone = sum(_apart(at, other) < APART * pixel for other in taken) == 1
        offset = (0.0, 0.0) if alone else _free(at, taken, axes.bbox, pixel)
        taken.append(at + np.multiply(offset, pixel))
        line = {"arrowstyle": "-", "color": point.color, "lw": 0.7, "shrinkA": 0, "shrinkB": 0}
        axes.annotate(
            str(number),
            (point.x, point.y),
            offset,
            textcoords="offset points",
            ha="center",
            va="center_baseline",
            fontsize=7.5,
            fontweight="bold",
            color="white" if alone else point.color,
            zorder=9,
            arrowprops=None if alone else line,
        )


def _free(at: Any, taken: Sequence[Any], frame: Any, pixel: float) -> tuple[float, float]:
    """The nearest offset, in points, at which a number lies on nothing and inside the frame."""
    for distance in np.arange(1.2, 9.0, 0.4) * APART:
        for angle in np.arange(16) * np.pi / 8:
            offset = distance * np.cos(angle), distance * np.sin(angle)
            there = at + np.multiply(offset, pixel)
            inside = frame.padded(-APART * pixel).contains(*there)
            if inside and all(_apart(there, other) >= 1.1 * APART * pixel for other in taken):
                return offset
    return 0.0, 0.0


def _apart(one: Any, other: Any) -> float:
    """How far apart two places are, across or up, in pixels."""
    return float(np.abs(one - other).max())


def _heading(split: str, images: int | None) -> Line2D:
    of = f", {images:,} images" if images else ""
    return Line2D([], [], ls="", label=f"$\\bf{{{split.replace(' ', chr(92) + ' ')}}}${of}")


def _set_limits(axes: Axes, figures: FrontFigures, scale: float) -> None:
    """Room on all sides; the worst of the cloud may stay outside."""
    xs = [each.x / scale for each in _all(figures)]
    if figures.limit is not None:
        xs.append(figures.limit / scale)
    if xs:
        axes.set_xlim(*_with_room(xs, 0.06))
        axes.set_ylim(*_range(figures))


def _range(figures: FrontFigures) -> tuple[float, float]:
    """What the picture shows of the score."""
    ys = [each.y for each in _important(figures)]
    if figures.cloud:
        edge = LOWEST if figures.score.better == "max" else 1 - LOWEST
        cut = float(np.quantile([each.y for each in figures.cloud], edge))
        ys.append(min(cut, *ys) if figures.score.better == "max" else max(cut, *ys))
    return _with_room(ys, 0.07) if ys else (0.0, 1.0)


def _with_room(values: Sequence[float], share: float) -> tuple[float, float]:
    low, high = min(values), max(values)
    room = share * (high - low) or 0.05 * abs(high) or 1.0
    return low - room, high + room


def _important(figures: FrontFigures) -> list[Point]:
    """All but the cloud."""
    ends = [point for move in figures.moves for point in (move.before, move.after) if point]
    full = [figures.full] if figures.full else []
    return [*figures.front, *full, *figures.hand_made, *ends]


def _all(figures: FrontFigures) -> list[Point]:
    return [*figures.cloud, *_important(figures)]


def _columns(points: Sequence[Point], scale: float) -> tuple[list[float], list[float]]:
    return [each.x / scale for each in points], [each.y for each in points]
