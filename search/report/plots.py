"""All plots of a report, with their headings and captions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from matplotlib import rc_context

from search.pipeline.choose import to_folder_name
from search.report.front_data import FrontData, collect_front_data
from search.report.plot_arch import draw_arch
from search.report.plot_curves import draw_panels, make_retraining_panels, make_training_panels
from search.report.plot_front import draw_front
from search.report.plot_latency import draw_latency
from search.report.plot_samples import draw_kept_tokens, draw_predictions
from search.report.plot_search import draw_hypervolumes, draw_usage
from search.report.run_results import RunResults
from search.report.search_data import (
    SAMPLES,
    compute_hypervolumes,
    count_usage,
    drop_unused,
    sample_usage,
)
from search.report.search_result import SearchResult
from search.report.style import RC, to_png
from search.utils.console import OPTIMISTIC
from space.operators.registry import operators
from space.utils.atomic import replacing

# Of these there are several plots, each with a name of its own behind the hyphen.
FAMILIES = ("arch", "front", "latency", "tokens")
# Of stored pictures.
HEADING = "Predictions on test images"


class Plot(NamedTuple):
    """A drawn plot.

    Args:
        stem: File name without `.png`.
        heading: Heading; consecutive plots may share one.
        caption: Caption.
        png: Bytes of the file.
    """

    stem: str
    heading: str
    caption: str
    png: bytes


@rc_context(RC)
def write_plots(results: RunResults, folder: Path) -> list[Plot]:
    """Draw and write all plots that the run has data for, and remove outdated ones."""
    plots = list(_draw_all(results))
    for plot in plots:
        with replacing(folder / f"{plot.stem}.png") as file:
            file.write(plot.png)
    # Plots of an earlier report would be taken for those of this one.
    kept = {plot.stem for plot in plots}
    for path in [path for family in FAMILIES for path in folder.glob(f"{family}-*.png")]:
        if path.stem not in kept:
            path.unlink()
    return plots


def _draw_all(results: RunResults) -> Iterator[Plot]:
    if results.search is not None:
        for i, front in enumerate(collect_front_data(results.search, results.networks)):
            stem = f"front-{to_folder_name(front.cost)}" if i else "front"
            if front.front or front.evaluated:
                yield Plot(stem, "The front", _describe_front(front), to_png(draw_front(front)))
    for data in results.latencies:
        worst = data.operators[0]
        caption = (
            f"{data.table.name}: {worst.operator!r} exceeds its share of the MACs by the most "
            f"({100 * worst.excess:+.1f} points). Predictions on {data.table.error}."
        )
        png = to_png(draw_latency(data))
        yield Plot(f"latency-{data.table.name}", "MACs and milliseconds", caption, png)
    yield from _draw_samples(results)
    yield from _draw_archs(results)
    if results.search is not None:
        yield from _draw_search(results.search, results)
    yield from _draw_training(results)


def _describe_front(data: FrontData) -> str:
    text = "The blue line is the best that the search found for each cost"
    if not data.is_line:
        text = "The blue points are the front, which has other objectives than these two as well"
    if not data.front:
        text = "The front is empty: no arch meets the budget; grey points are the evaluated archs"
    text += f", measured on the search split. {OPTIMISTIC}"
    if data.hand_made:
        text += " Green markers are hand-made archs."
    if data.retrained:
        text += (
            " The filled markers with corners are retrained networks on the test split, whose "
            "images are others: compare them with each other, not with points of the search split."
        )
        if any(each.before for each in data.retrained):
            text += " Arrows lead to them from the weights they inherited (hollow)."
        if any(each.is_control for each in data.retrained):
            text += " The purple ones are controls: hand-made archs, or the best of random ones."
    return text


def _draw_archs(results: RunResults) -> Iterator[Plot]:
    """Draw the archs of the front, then controls; the full network only if it is the only one."""
    for network in sorted(results.networks, key=lambda each: each.is_control):
        if network.is_full and len(results.networks) > 1:
            continue
        heading = "The chosen subnets"
        if network.is_control:
            heading = "Hand-made and random archs, to compare"
        captions = [
            each.caption
            for each in operators()
            if any(each.choice(block) != each.plain for block in network.arch.blocks)
        ]
        share = f"{network.mac_share:.0%} of the MACs"
        if network.shape.has_dense_head:
            share += f", {network.backbone_share:.0%} without head"
        caption = ". ".join([f"{network.label}, at {share}", *captions])
        score = results.test_score if network.retrained else results.score
        stem = f"arch-{to_folder_name(network.name)}"
        yield Plot(stem, heading, f"{caption}.", to_png(draw_arch(network, score)))


def _draw_samples(results: RunResults) -> Iterator[Plot]:
    """Draw predictions of networks side by side, and the tokens of those that skip blocks."""
    # The full network and those found come first, then controls.
    networks = [
        each for each in sorted(results.networks, key=lambda each: each.is_control) if each.samples
    ]
    if not networks:
        return
    # Networks retrained with another limit of test images have pictures of others.
    indices = networks[0].samples and networks[0].samples.indices
    samples = {
        each.label: each.samples
        for each in networks
        if each.samples is not None and each.samples.indices == indices
    }
    caption = (
        "Above, images with the networks' predictions, beneath each the truth and their errors. "
        f"The {results.test_score.title} above a prediction is that of the image. "
        f"{results.pictures}"
    )
    yield Plot(
        "predictions", HEADING, caption, to_png(draw_predictions(samples, results.test_score))
    )
    for network in networks:
        if network.samples is not None and network.samples.kept:
            caption = (
                f"{network.label}: the patch tokens that go through each run of skipping blocks; "
                "those in purple bypass it."
            )
            stem = f"tokens-{to_folder_name(network.name)}"
            yield Plot(stem, HEADING, caption, to_png(draw_kept_tokens(network.samples)))


def _draw_search(search: SearchResult, results: RunResults) -> Iterator[Plot]:
    searches = [search, *results.randoms]
    curves = compute_hypervolumes(searches)
    if curves[0].evaluations:
        caption = (
            "The share of the box between the worst and the best value of each objective that the "
            "front dominates."
        )
        if results.randoms:
            caption += " The further above random search, the more the sampler has learned."
        by_name = dict(zip((each.name for each in searches), curves, strict=False))
        yield Plot("hypervolume", "The search", caption, to_png(draw_hypervolumes(by_name)))
    if search.front.entries:
        limit = search.mac_limit
        usage, others = drop_unused(
            count_usage([entry.arch for entry in search.front.entries]),
            None if search.space is None else sample_usage(search.space, search.mac_floor, limit),
        )
        if not usage:
            return
        caption = "The share of the front's archs that make each choice."
        if others is not None:
            source = "from the whole space" if limit is None else "inside the budget"
            caption = (
                "Where a bar is above its mark, the front makes the choice more often than "
                f"{SAMPLES:,} archs drawn uniformly {source}."
            )
        png = to_png(draw_usage(usage, others))
        yield Plot("choices", "What the front chooses", caption, png)


def _draw_training(results: RunResults) -> Iterator[Plot]:
    if panels := make_training_panels(results.training, results.test_score, results.losses):
        hints = [each.metric.good for each in operators() if each.metric is not None]
        caption = " ".join(["Losses and metrics of the supernet's archs.", *hints])
        yield Plot("training", "Training of the supernet", caption, to_png(draw_panels(panels)))
    if panels := make_retraining_panels(results.networks, results.test_score):
        caption = "The networks of the table, on the search split, epoch by epoch."
        yield Plot("retraining", "Retraining", caption, to_png(draw_panels(panels)))
