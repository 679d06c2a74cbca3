"""How the pictures of a report look: nothing over something else, and what they tell apart."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from report_runs import SPACES, searched

from search.report.front_data import collect_front_data
from search.report.networks import Network
from search.report.plot_arch import draw_arch
from search.report.plot_curves import (
    ARCHS,
    LOSS,
    Panel,
    draw_panels,
    make_retraining_panels,
    make_training_panels,
)
from search.report.plot_front import draw_front
from search.report.plot_search import draw_hypervolumes
from search.report.search_data import compute_hypervolumes
from search.report.search_result import Score, SearchResult, describe_losses, read_search
from search.report.style import RC, to_png


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> SearchResult:
    folder = tmp_path_factory.mktemp("search") / "main"
    searched(folder, "NSGAIISampler")
    return read_search(folder)


@pytest.fixture(autouse=True)
def style() -> Iterator[None]:
    """The style in which a report draws its plots."""
    with rc_context(RC):
        yield


def texts(figure: Figure) -> list[tuple[str, Bbox]]:
    """All that is written on a picture, apart from the numbers at the ticks, and where."""
    figure.draw_without_rendering()
    ticks = {
        id(label)
        for axes in figure.axes
        for axis in (axes.xaxis, axes.yaxis)
        for label in (*axis.get_ticklabels(), *axis.get_ticklabels(minor=True))
    }
    found = [each for each in figure.findobj(Text) if id(each) not in ticks]
    return [
        # Of an annotation the words alone, without the line that ties them to a point.
        (each.get_text(), Text.get_window_extent(each))
        for each in found
        if each.get_visible() and each.get_text()
    ]


LONG = "baseline early pools latency_ms@a_card_of_a_long_name=70%"


def test_every_curve_of_a_retrained_network_looks_different(search):
    _, networks = judged(search)
    panels = make_retraining_panels(networks, Score("top1"))
    for axes in draw_panels(panels).axes:
        assert len({tuple(line.get_color()) for line in axes.lines}) == len(networks)
        dashed = [line.get_label() for line in axes.lines if line.get_linestyle() == "--"]
        assert dashed == [each.label for each in networks if each.is_control]


def judged(search: SearchResult) -> tuple[SearchResult, list[Network]]:
    """The search with standard errors, and many retrained networks, some of them beside others."""
    entries = tuple(
        replace(each, error=0.5 if i % 2 else 1e-9) for i, each in enumerate(search.front.entries)
    )
    front = replace(search.front, entries=entries, images=1234)
    names = ["full", LONG, *(f"{90 - i}%" for i in range(8))]
    rows = tuple(
        {"epoch": i, "loss/subnet": 2.0 - i / 9, "top1/subnet": 0.5 + i / 99} for i in range(3)
    )
    networks = [
        Network(
            name,
            entries[i // 2].arch,
            front.shape,
            inherited={"top1": 0.7},
            retrained={"top1": 0.75 + i / 1e4},
            log=rows,
            test_images=5678,
        )
        for i, name in enumerate(names)
    ]
    return replace(search, front=front), networks


def test_nothing_is_written_over_something_else_or_over_an_edge(search: SearchResult) -> None:
    result, networks = judged(search)
    (figures,) = collect_front_data(result, networks)
    curve = compute_hypervolumes([result, result])[0]
    pictures = [
        draw_arch(networks[1], Score("top1")),
        draw_front(figures),
        draw_panels(make_retraining_panels(networks, Score("top1"))),
        draw_hypervolumes({"a": curve, "b": curve}),
    ]
    for figure in pictures:
        written = texts(figure)
        width, height = figure.get_size_inches() * figure.dpi
        for text, box in written:
            assert box.x0 >= 0, text
            assert box.y0 >= 0, text
            assert box.x1 <= width, text
            assert box.y1 <= height, text
        for (one, a), (other, b) in itertools.combinations(written, 2):
            across = min(a.x1, b.x1) - max(a.x0, b.x0)
            high = min(a.y1, b.y1) - max(a.y0, b.y0)
            assert across < 1 or high < 1, (one, other)


def test_each_network_has_a_marker_of_its_own_and_a_name(search: SearchResult) -> None:
    result, networks = judged(search)
    (data,) = collect_front_data(result, networks)
    (axes,) = draw_front(data).axes
    named = {line.get_label(): line for line in axes.lines if line.get_label()[0] != "_"}
    names = [point.name for point in (*data.hand_made, *(each.after for each in data.retrained))]
    assert len(data.retrained) == len(networks) == 10
    assert set(names) <= set(named)
    looks = {(line.get_marker(), line.get_color()) for line in (named[name] for name in names)}
    assert len(looks) == len(names)


@pytest.mark.parametrize("name", ["_x", "$x$", r"$\frac$", "a_b^c", "___"])
def test_a_legend_has_names_of_files_as_they_are(search: SearchResult, name: str) -> None:
    result, networks = judged(search)
    networks = [replace(networks[0], name=name)]
    for figure in (
        draw_front(collect_front_data(result, networks)[0]),
        draw_panels(make_retraining_panels(networks, Score("top1"))),
    ):
        assert (name.lstrip("_") or "network") in [text for text, _ in texts(figure)]


def test_the_picture_tells_search_and_test_figures_apart(search: SearchResult) -> None:
    result, networks = judged(search)
    (figures,) = collect_front_data(result, networks)
    told = [lead.is_significant for lead in result.front.leads if lead]
    assert len(figures.insignificant) == told.count(False) > 0
    written = [text for text, _ in texts(draw_front(figures))]
    says = " | ".join(written)
    assert "1,234 images" in says
    assert "5,678 images" in says
    assert "not told apart" in says
    assert "early pools, latency_ms@a_card_of_a_long_name=70%" in says


@pytest.mark.parametrize(
    ("config", "titles"),
    [
        ({}, ["the labels", "the largest arch's output (distillation)"]),
        ({"task": {"name": "depth"}}, ["the labels"]),
        (
            {"supernet": {"distill_share": 0.5, "teacher": "a.yaml"}},
            [
                "the labels and the teacher",
                "the labels and the largest arch's output (distillation)",
            ],
        ),
    ],
)
def test_losses_of_different_kinds_have_panels_of_their_own(config, titles) -> None:
    row = {f"loss/{name}": 1.0 for name in ("largest", "selectors", "smallest", "random")}
    rows = [{"epoch": 0, **row}]
    panels = make_training_panels(rows, Score("top1"), describe_losses(config))
    titles = [f"Loss on {each}" for each in titles]
    assert [panel.title for panel in panels] == [*titles, "Auxiliary losses"]
    assert list(panels[-1].curves) == ["selectors"]
    assert [name for panel in panels[:-1] for name in panel.curves] == list(ARCHS)


def test_the_ticks_of_a_logarithmic_axis_are_readable() -> None:
    for least in (0.03, 1e-5):
        curves = {"random": {1: 1.0, 2: least}}
        figure = draw_panels([Panel("Loss", LOSS, curves)])
        to_png(figure)
        (axes,) = figure.axes
        low, high = axes.get_ylim()
        ticks = [x for x in axes.get_yticks() if low <= x <= high]
        assert 4 <= len(ticks) <= 9
        assert not len(axes.yaxis.get_minorticklocs())


def test_losses_say_that_lower_is_better() -> None:
    assert Score("cross_entropy", "min").axis == "cross entropy (lower is better)"
    assert Score("rmse", "min").axis == "RMSE (m, lower is better)"
    assert Score("top1").axis == "top-1 (%)"
    rows = [{"epoch": 0, "loss/largest": 1.0, "cross_entropy/largest": 2.0}]
    panels = make_training_panels(rows, Score("cross_entropy", "min"), ("labels", "labels"))
    assert [panel.unit.endswith("(lower is better)") for panel in panels] == [True, True]


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("50%", "within 50%"),
        ("latency_ms=60%", "within latency_ms=60%"),
        ("macs=0.8G", "within macs=0.8G"),
        ("baseline early pools latency_ms=60%", "early pools, latency_ms=60%"),
        ("baseline two pools 50%", "two pools, 50%"),
        ("003_abcdef", "003_abcdef"),
    ],
)
def test_names_keep_their_budgets_whole(name: str, label: str) -> None:
    space = SPACES["digits"]
    network = Network(name, space.sample(np.random.default_rng(0)), space.shape)
    assert network.label == label
