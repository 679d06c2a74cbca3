"""What the pictures of a front draw, apart from the drawing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from search.costs import FREE_COSTS
from search.latency.costs import MEASURED, is_latency
from search.report.choices import Choice, Metrics
from search.report.measures import Score, cost_axis, score_of
from search.report.searches import SearchResult
from space.baselines import baselines
from space.cost import macs


class Point(NamedTuple):
    """A network on the plane: its cost, and its score in the unit that is shown."""

    x: float
    y: float
    name: str = ""


class Move(NamedTuple):
    """A retrained network: from inherited to retrained, where both are known."""

    before: Point | None
    after: Point
    control: bool


@dataclass(frozen=True)
class FrontFigures:
    """What the picture draws.

    Args:
        score: of the y axis.
        cost: name of the x axis.
        cloud: all evaluated networks.
        front: in the order of their cost.
        full: the full network, if it was evaluated.
        hand_made: those that were evaluated.
        moves: the retrained networks.
        limit: the budget on the x axis, if there is one.
        two: whether score and cost are all objectives, so that the front is a line.
        timed: whether the front's costs are milliseconds that were measured.
        close: points of the front that chance may put before the next best one.
        images: of the search split; None where nothing says.
        test_images: of the test split, likewise.
    """

    score: Score
    cost: str
    cloud: tuple[Point, ...]
    front: tuple[Point, ...]
    full: Point | None
    hand_made: tuple[Point, ...]
    moves: tuple[Move, ...]
    limit: float | None
    two: bool
    timed: bool = False
    close: tuple[Point, ...] = ()
    images: int | None = None
    test_images: int | None = None


def fronts_figures(search: SearchResult, choices: Sequence[Choice]) -> list[FrontFigures]:
    """What the pictures of a front draw: one for its cost, and one for each budget of latency."""
    score = score_of(search.front)
    costs = [cost_axis(search.front.objectives, score), *filter(is_latency, search.limits)]
    return [_figures(search, choices, score, cost) for cost in dict.fromkeys(costs)]


def _figures(
    search: SearchResult, choices: Sequence[Choice], score: Score, cost: str
) -> FrontFigures:
    front = search.front
    named = {each.identity: each.metrics for each in search.records}
    cloud = [_point(metrics, cost, score) for metrics in named.values()]
    timed = any(MEASURED + cost in entry.metrics for entry in front.entries)
    points = [_point(_as_measured(entry.metrics, cost), cost, score) for entry in front.entries]
    leads = zip(points, front.leads, strict=True)
    close = [point for point, lead in leads if point and lead and not lead.told_apart]
    limit = search.limits.get(cost)
    full, hand_made = None, []
    if search.space is not None:
        space = search.space
        full = _point(named.get(space.identity(space.largest()), {}), cost, score)
        top = search.limits.get("macs", macs(space.largest(), space.shape))
        for each in baselines(space, top):
            found = each.arch and named.get(space.identity(each.arch))
            point = _point(found or {}, cost, score, each.name)
            hand_made += [point] if point else []
    return FrontFigures(
        score,
        cost,
        tuple(point for point in cloud if point),
        tuple(sorted(point for point in points if point)),
        full,
        _joined(hand_made),
        tuple(_moves(choices, cost, score)),
        limit,
        {each.name for each in front.objectives} <= {score.name, cost},
        timed,
        tuple(close),
        front.images,
        next((each.images for each in choices if each.images), None),
    )


def _as_measured(metrics: Metrics, cost: str) -> Metrics:
    """The metrics, with the cost as it was measured, where it was."""
    found = metrics.get(MEASURED + cost)
    return metrics if found is None else {**metrics, cost: found}


def _point(metrics: Metrics, cost: str, score: Score, name: str = "") -> Point | None:
    if cost not in metrics or score.name not in metrics:
        return None
    return Point(metrics[cost], score.show(metrics[score.name]), name)


def _moves(choices: Sequence[Choice], cost: str, score: Score) -> Iterator[Move]:
    for choice in choices:
        if cost in FREE_COSTS:
            costs = {cost: float(FREE_COSTS[cost].of(choice.arch, choice.shape))}
        elif cost in choice.latencies:
            costs = {cost: choice.latencies[cost].ms}
        else:
            continue
        before = _point({**choice.inherited, **costs}, cost, score)
        after = _point({**choice.retrained, **costs}, cost, score, choice.label)
        if after:
            yield Move(before, after, choice.control)


def _joined(points: Sequence[Point]) -> tuple[Point, ...]:
    """Families of the same arch as one point with all their names."""
    names: dict[tuple[float, float], list[str]] = {}
    for point in points:
        names.setdefault((point.x, point.y), []).append(point.name)
    return tuple(Point(x, y, ", ".join(each)) for (x, y), each in names.items())
