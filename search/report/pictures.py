"""All pictures of a report, with what each of them shows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure

from search.leads import NOT_TOLD_APART
from search.report.contents import Contents
from search.report.draw_arch import draw_arch
from search.report.draw_curves import draw_panels, retraining_panels, training_panels
from search.report.draw_latency import draw_latency
from search.report.draw_search import draw_usage, draw_volumes
from search.report.front_data import FrontData, collect_front_data
from search.report.page import Picture
from search.report.plot_front import draw_front
from search.report.style import save_png
from search.report.usage import DRAWS, usage, usage_of_space
from search.report.volumes import volumes
from search.tables import OPTIMISTIC


class Drawn(NamedTuple):
    """A picture before it is written; see `Picture`."""

    stem: str
    title: str
    says: str
    figure: Figure


def write_pictures(contents: Contents, folder: Path) -> list[Picture]:
    """Draw and write all pictures that the run has figures for, and remove older ones."""
    found: list[Picture] = []
    for drawn in _drawn(contents):
        stem, count = drawn.stem, sum(each.stem.startswith(drawn.stem) for each in found)
        if any(each.stem == stem for each in found):
            stem = f"{stem}-{count + 1}"
        png = save_png(drawn.figure, folder / f"{stem}.png")
        found.append(Picture(stem, drawn.title, drawn.says, png))
    # A picture of what is no longer in the run would be taken for one of this report.
    current = {f"{each.stem}.png" for each in found}
    for path in (*folder.glob("arch-*.png"), *folder.glob("front-latency_ms*.png")):
        if path.name not in current:
            path.unlink()
    return found


def _drawn(contents: Contents) -> Iterator[Drawn]:
    yield from _front(contents)
    yield from _latencies(contents)
    yield from _archs(contents)
    yield from _search(contents)
    yield from _training(contents)


def _front(contents: Contents) -> Iterator[Drawn]:
    if contents.search is None:
        return
    for i, figures in enumerate(collect_front_data(contents.search, contents.choices)):
        if figures.front or figures.cloud:
            stem = re.sub(r"\W+", "-", f"front-{figures.cost}") if i else "front"
            yield Drawn(stem, "The front", _says_front(figures), draw_front(figures))


def _says_front(figures: FrontData) -> str:
    says = "The blue line is the best that the search found for each cost"
    if not figures.is_line:
        says = "The blue points are the front; other objectives than these two count too"
    if not figures.front:
        says = "The front is empty: no arch keeps the budget; grey points are what was evaluated"
    says += f", measured on the search split. {OPTIMISTIC}"
    if figures.not_told_apart:
        says += (
            f" Hollow circles ({NOT_TOLD_APART}) are not told apart from the next best: their lead "
            "is under two standard errors, paired over the images."
        )
    if figures.moves:
        says += (
            " Arrows are test figures, from inherited (hollow) to retrained (filled) weights; the "
            "purple ones are there to compare with: made by hand, or the best of random archs."
        )
    if figures.hand_made:
        says += (
            " Green markers are archs as people build them by hand, with poolings early, late or "
            "evenly, or with skipping or sharing alone."
        )
    return says


def _latencies(contents: Contents) -> Iterator[Drawn]:
    for found in contents.latencies:
        most, least = found.excess[0], found.excess[-1]
        says = (
            f"{found.name}: over the profile's archs, {_saved(found.saved)}. "
            f"Most beyond its share of the MACs takes {most.operator!r} "
            f"({100 * (most.time - most.macs):+.1f} points), least {least.operator!r} "
            f"({100 * (least.time - least.macs):+.1f} points). {found.error}."
        )
        stem = f"latency-{found.device.lower()}"
        yield Drawn(stem, "MACs and milliseconds", says, draw_latency(found))


def _saved(share: float) -> str:
    if share <= 0:
        return "subnets are no quicker than the full network"
    return f"time saved is {share:.2f} of the MACs saved"


def _archs(contents: Contents) -> Iterator[Drawn]:
    """The found ones, then the hand-made ones; the full network only where it is alone."""
    score = contents.test if contents.retrained else contents.score
    several = len(contents.choices) > 1
    for choice in sorted(contents.choices, key=lambda each: each.control):
        if choice.full and several:
            continue
        name = re.sub(r"[^a-z0-9]+", "-", choice.name.lower()).strip("-") or "subnet"
        says = (
            f"{choice.title}: what its blocks do, at {choice.of_full:.0%} of the full network's "
            "MACs."
        )
        title = "Hand-made and random archs, to compare" if choice.control else "The chosen subnets"
        yield Drawn(f"arch-{name}", title, says, draw_arch(choice, score))


def _search(contents: Contents) -> Iterator[Drawn]:
    search = contents.search
    if search is None:
        return
    title = "The search"
    compared = [search, *contents.randoms]
    named = dict(zip([_called(each.name) for each in compared], volumes(compared), strict=True))
    first = next(iter(named))
    if named[first].evaluations:
        says = (
            "Of the box between the worst and the best value of each objective, the front "
            "dominates so much."
        )
        if contents.randoms:
            says += " The further above random search, the more the sampler has learned."
        yield Drawn("hypervolume", title, says, draw_volumes(named))
    if search.front.entries:
        made = usage([entry.arch for entry in search.front.entries])
        others, drawn_from = None, "from the whole space"
        if contents.space is not None:
            limit = search.limits.get("macs")
            others = usage_of_space(contents.space, limit)
            if limit is not None:
                drawn_from = "inside the budget"
        says = (
            "Where a bar stands above its mark, the front makes the choice more often than chance "
            "would."
        )
        figure = draw_usage(made, others, f"{DRAWS:,} archs drawn uniformly {drawn_from}")
        yield Drawn("choices", "What the front chooses", says, figure)


def _training(contents: Contents) -> Iterator[Drawn]:
    panels = training_panels(contents.training, contents.score)
    if panels:
        says = "The supernet's archs learn together; selectors are of use above the previous map."
        figure = draw_panels(panels, across=False)
        yield Drawn("training", "Training of the supernet", says, figure)
    panels = retraining_panels(contents.choices, contents.score)
    if panels:
        says = "The networks of the table, on the search split, epoch by epoch."
        figure = draw_panels(panels, across=True)
        yield Drawn("retraining", "Retraining", says, figure)


def _called(name: str) -> str:
    return f"{name} search" if name in ("main", "random") else f"search {name}"
