"""The data of the front's plots."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from search.problem.costs import FREE_COSTS, is_latency
from search.report.networks import Network
from search.report.search_result import Score, SearchResult, choose_score
from space.baselines import baselines
from space.cost import macs


class Point(NamedTuple):
    """A network in the plot: its cost, and its score in the displayed unit."""

    x: float
    y: float
    name: str = ""


class RetrainedPoint(NamedTuple):
    """A retrained network: its points with inherited weights, if known, and with retrained ones."""

    before: Point | None
    after: Point
    is_control: bool


@dataclass(frozen=True)
class FrontData:
    """Data of a front's plot.

    Args:
        score: The metric of the y axis.
        cost: Name of the cost of the x axis.
        evaluated: All evaluated networks.
        front: The front, sorted by cost.
        insignificant: Points of the front whose lead over the next best may be chance.
        full: The full network, if it was evaluated.
        hand_made: The hand-made archs that were evaluated.
        retrained: The retrained networks.
        limit: The budget on the x axis, if there is one.
        is_line: Whether score and cost are the only objectives, so that the front is a line.
        cost_measured: Whether the front's milliseconds were measured, not predicted.
        search_images: Images of the search split; None where unknown.
        test_images: Images of the test split; None where unknown.
    """

    score: Score
    cost: str
    evaluated: Sequence[Point]
    front: Sequence[Point]
    insignificant: Sequence[Point]
    full: Point | None
    hand_made: Sequence[Point]
    retrained: Sequence[RetrainedPoint]
    limit: float | None
    is_line: bool
    cost_measured: bool
    search_images: int | None
    test_images: int | None


def collect_front_data(search: SearchResult, networks: Sequence[Network]) -> list[FrontData]:
    """Collect the data of a plot over the front's cost, and of one over each budgeted latency."""
    score = choose_score(search.front)
    others = [each.name for each in search.front.objectives if each.name != score.name]
    cost = others[0] if others and "macs" not in others else "macs"
    costs = dict.fromkeys([cost, *filter(is_latency, search.limits)])
    return [_collect(search, networks, score, cost) for cost in costs]


def _collect(
    search: SearchResult, networks: Sequence[Network], score: Score, cost: str
) -> FrontData:
    front, space = search.front, search.space
    metrics_of = {each.identity: each.metrics for each in search.records}
    evaluated = [_point(metrics, cost, score) for metrics in metrics_of.values()]
    points = [_point({**entry.metrics, **entry.measured}, cost, score) for entry in front.entries]
    leads = zip(points, front.leads, strict=True)
    full, hand_made = None, dict[tuple[float, float], list[str]]()
    if space is not None:
        full = _point(metrics_of.get(space.identity(space.largest()), {}), cost, score)
        limit = search.mac_limit
        for each in baselines(
            space, macs(space.largest(), space.shape) if limit is None else limit
        ):
            metrics = metrics_of.get(space.identity(each.arch), {}) if each.arch else {}
            if point := _point(metrics, cost, score):
                # Several families of hand-made archs may contain the same arch.
                hand_made.setdefault(point[:2], []).append(each.name)
    return FrontData(
        score=score,
        cost=cost,
        evaluated=[point for point in evaluated if point],
        front=sorted(point for point in points if point),
        insignificant=[
            point for point, lead in leads if point and lead and not lead.is_significant
        ],
        full=full,
        hand_made=[Point(x, y, ", ".join(names)) for (x, y), names in hand_made.items()],
        retrained=list(_collect_retrained(networks, cost, score)),
        limit=search.mac_limit if cost == "macs" else search.limits.get(cost),
        is_line={each.name for each in front.objectives} <= {score.name, cost},
        cost_measured=any(cost in entry.measured for entry in front.entries),
        search_images=front.images,
        test_images=next((each.test_images for each in networks if each.test_images), None),
    )


def _point(metrics: Mapping[str, float], cost: str, score: Score, name: str = "") -> Point | None:
    if cost not in metrics or score.name not in metrics:
        return None
    return Point(metrics[cost], score.scale(metrics[score.name]), name)


def _collect_retrained(
    networks: Sequence[Network], cost: str, score: Score
) -> Iterator[RetrainedPoint]:
    for network in networks:
        costs = {name: timing.value for name, timing in network.latencies.items()}
        if cost in FREE_COSTS:
            costs[cost] = float(FREE_COSTS[cost].compute(network.arch, network.shape))
        before = _point({**network.inherited, **costs}, cost, score)
        after = _point({**network.retrained, **costs}, cost, score, network.label)
        if after:
            yield RetrainedPoint(before, after, network.is_control)
