"""All plots of a report, with their headings and captions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure

from search.problem.paired_error import INSIGNIFICANT
from search.report.front_data import FrontData, collect_front_data
from search.report.plot_arch import draw_arch
from search.report.plot_curves import draw_panels, make_retraining_panels, make_training_panels
from search.report.plot_front import draw_front
from search.report.plot_latency import draw_latency
from search.report.plot_search import draw_hypervolumes, draw_usage
from search.report.run_results import RunResults
from search.report.score import task_score
from search.report.search_data import SAMPLES, compute_hypervolumes, count_usage, sample_usage
from search.report.style import save_png
from search.utils.console import OPTIMISTIC


class Plot(NamedTuple):
    """A drawn plot.

    Args:
        stem: File name without `.png`.
        heading: Heading; consecutive plots may share one.
        caption: Caption.
        figure: The plot.
    """

    stem: str
    heading: str
    caption: str
    figure: Figure


class Picture(NamedTuple):
    """A written plot: heading, caption and file."""

    heading: str
    caption: str
    path: Path


def write_plots(results: RunResults, folder: Path) -> list[Picture]:
    """Draw and write all plots that the run has data for, and remove outdated ones."""
    pictures: dict[str, Picture] = {}
    for plot in _draw_all(results):
        stem = plot.stem
        if stem in pictures:
            stem = f"{stem}-{1 + sum(each.startswith(stem) for each in pictures)}"
        pictures[stem] = Picture(plot.heading, plot.caption, folder / f"{stem}.png")
        save_png(plot.figure, pictures[stem].path)
    # Plots of an earlier report would be taken for this one's.
    for path in (*folder.glob("arch-*.png"), *folder.glob("front-latency_ms*.png")):
        if path.stem not in pictures:
            path.unlink()
    return list(pictures.values())


def _draw_all(results: RunResults) -> Iterator[Plot]:
    yield from _draw_fronts(results)
    yield from _draw_latencies(results)
    yield from _draw_archs(results)
    yield from _draw_search(results)
    yield from _draw_training(results)


def _draw_fronts(results: RunResults) -> Iterator[Plot]:
    if results.search is None:
        return
    for i, data in enumerate(collect_front_data(results.search, results.networks)):
        if data.front or data.evaluated:
            stem = re.sub(r"\W+", "-", f"front-{data.cost}") if i else "front"
            yield Plot(stem, "The front", _describe_front(data), draw_front(data))


def _describe_front(data: FrontData) -> str:
    text = "The blue line is the best that the search found for each cost"
    if not data.is_line:
        text = "The blue points are the front; other objectives than these two count too"
    if not data.front:
        text = "The front is empty: no arch keeps the budget; grey points are what was evaluated"
    text += f", measured on the search split. {OPTIMISTIC}"
    if data.insignificant:
        text += (
            f" Hollow circles ({INSIGNIFICANT}) are not told apart from the next best: their lead "
            "is under two standard errors, paired over the images."
        )
    if data.retrained:
        text += (
            " Arrows are test figures, from inherited (hollow) to retrained (filled) weights; the "
            "purple ones are there to compare with: made by hand, or the best of random archs."
        )
    if data.hand_made:
        text += (
            " Green markers are archs as people build them by hand, with poolings early, late or "
            "evenly, or with skipping or sharing alone."
        )
    return text


def _draw_latencies(results: RunResults) -> Iterator[Plot]:
    for data in results.latencies:
        most, least = data.operators[0], data.operators[-1]
        saved = f"time saved is {data.saved_time:.2f} of the MACs saved"
        if data.saved_time <= 0:
            saved = "subnets are no quicker than the full network"
        caption = (
            f"{data.cost}: over the profile's archs, {saved}. "
            f"Most beyond its share of the MACs takes {most.operator!r} "
            f"({100 * most.excess:+.1f} points), least {least.operator!r} "
            f"({100 * least.excess:+.1f} points). {data.error}."
        )
        stem = f"latency-{data.device.lower()}"
        yield Plot(stem, "MACs and milliseconds", caption, draw_latency(data))


def _draw_archs(results: RunResults) -> Iterator[Plot]:
    """Draw found archs, then controls; the full network only where it is alone."""
    score = results.test_score if results.retrained else results.score
    for network in sorted(results.networks, key=lambda each: each.is_control):
        if network.is_full and len(results.networks) > 1:
            continue
        name = re.sub(r"[^a-z0-9]+", "-", network.name.lower()).strip("-") or "subnet"
        share = f"{network.mac_share:.0%} of the full network's MACs"
        caption = f"{network.title}: what its blocks do, at {share}."
        heading = "The chosen subnets"
        if network.is_control:
            heading = "Hand-made and random archs, to compare"
        yield Plot(f"arch-{name}", heading, caption, draw_arch(network, score))


def _draw_search(results: RunResults) -> Iterator[Plot]:
    search = results.search
    if search is None:
        return
    searches = [search, *results.randoms]
    curves = compute_hypervolumes(searches)
    if curves[0].evaluations:
        caption = (
            "Of the box between the worst and the best value of each objective, the front "
            "dominates so much."
        )
        if results.randoms:
            caption += " The further above random search, the more the sampler has learned."
        named = {_called(each.name): curve for each, curve in zip(searches, curves, strict=True)}
        yield Plot("hypervolume", "The search", caption, draw_hypervolumes(named))
    if search.front.entries:
        chosen = count_usage([entry.arch for entry in search.front.entries])
        limit = search.limits.get("macs")
        drawn = None if search.space is None else sample_usage(search.space, limit)
        where = "from the whole space" if limit is None else "inside the budget"
        caption = (
            "Where a bar stands above its mark, the front makes the choice more often than chance "
            "would."
        )
        count = len(search.front)
        labels = (
            f"{count} {'arch' if count == 1 else 'archs'} of the front",
            f"{SAMPLES:,} archs drawn uniformly {where}",
        )
        yield Plot("choices", "What the front chooses", caption, draw_usage(chosen, drawn, labels))


def _called(name: str) -> str:
    return f"{name} search" if name in ("main", "random") else f"search {name}"


def _draw_training(results: RunResults) -> Iterator[Plot]:
    if panels := make_training_panels(results.training, results.score, task_score(results.config)):
        caption = (
            "The supernet's archs learn together; selectors are of use above the previous map."
        )
        figure = draw_panels(panels)
        yield Plot("training", "Training of the supernet", caption, figure)
    if panels := make_retraining_panels(results.networks, results.score):
        caption = "The networks of the table, on the search split, epoch by epoch."
        yield Plot("retraining", "Retraining", caption, draw_panels(panels))
