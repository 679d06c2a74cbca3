"""What the pictures of a report draw, apart from the drawing."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

sys.path.append(str(Path(__file__).parent))

import itertools
from dataclasses import replace

import report_runs as runs

from search.front import Front
from search.report.blocks import block_figures, rest_macs
from search.report.choices import Choice
from search.report.draw_arch import draw_arch
from search.report.draw_curves import draw_panels, retraining_panels, training_panels
from search.report.draw_front import draw_front
from search.report.draw_search import draw_volumes
from search.report.front_figures import fronts_figures
from search.report.logs import curves, read_log
from search.report.measures import Score
from search.report.searches import SearchResult, read_search
from search.report.style import save_png
from search.report.usage import usage, usage_of_space
from search.report.volumes import comparable, volumes
from search.run import run_search
from space import Arch, BlockArch, Pool, SearchSpace, macs, token_counts

SPACES = {"deit": runs.deit_space(), "digits": runs.digits_space()}


def searched(folder: Path, sampler: str, trials: int = 40, budget: str = "macs=80%") -> Front:
    space = SPACES["digits"]
    return run_search(
        space=space,
        evaluate=lambda arch: runs.made_up_top1(arch, space),
        budget=budget,
        trials=trials,
        sampler=sampler,
        folder=folder,
    )


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> SearchResult:
    folder = tmp_path_factory.mktemp("search") / "main"
    searched(folder, "NSGAIISampler")
    return read_search(folder)


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_block_figures_are_tokens_and_macs_of_the_arch(space: SearchSpace) -> None:
    rng = np.random.default_rng(0)
    for _ in range(100):
        arch = space.sample(rng)
        figures = block_figures(arch, space.shape)
        assert [each.tokens for each in figures] == token_counts(arch, space.shape)
        total = sum(each.macs for each in figures) + rest_macs(arch, space.shape)
        assert total == macs(arch, space.shape)
        for i, (each, block) in enumerate(zip(figures, arch.blocks, strict=True)):
            assert bool(each.pool) == (block.pool is not None)
            assert bool(each.bypass) == (block.skip > 0)
            assert (each.producer is not None) == block.shared
            if each.producer is not None:
                assert not arch.blocks[each.producer].shared
                assert all(one.shared for one in arch.blocks[each.producer + 1 : i + 1])
        for each, after in itertools.pairwise(figures):
            assert each.tokens + each.bypass == after.before


def test_block_figures_of_runs_and_poolings_in_a_row() -> None:
    shape = runs.vit_shape(6, 64, 4, 8)
    skip, shared = BlockArch(skip=0.5), BlockArch(skip=0.5, attention="shared")
    pools = (BlockArch(pool=Pool("avg2d", (4, 6))), BlockArch(pool=Pool("max1d", stride=5)))
    figures = block_figures(Arch((BlockArch(), skip, shared, BlockArch(), *pools)), shape)
    assert [each.tokens for each in figures] == [64, 32, 32, 64, 24, 5]
    assert [each.bypass for each in figures] == [0, 32, 32, 0, 0, 0]
    assert [each.selector for each in figures] == ["", "map", "", "", "", ""]
    assert [each.producer for each in figures] == [None, None, 1, None, None, None]
    assert figures[4].pool == ("avg2d", "8 x 8", "4 x 6")
    assert figures[5].pool == ("max1d", "4 x 6", "5")


def test_the_picture_of_a_deep_arch_is_no_wider_than_a_page(tmp_path: Path) -> None:
    shape = runs.vit_shape(40, 64, 4, 16)
    png = save_png(draw_arch(Choice("x", Arch.full(40), shape), Score("top1")), tmp_path / "x.png")
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    assert int.from_bytes(png[16:20], "big") <= 1800
    assert (tmp_path / "x.png").read_bytes() == png
    assert [path.name for path in tmp_path.iterdir()] == ["x.png"]


def test_the_front_is_drawn_as_it_was_found(search: SearchResult) -> None:
    space = SPACES["digits"]
    figures = fronts_figures(search, [])[0]
    wanted = {
        (entry.metrics["macs"], 100 * entry.metrics["top1"]) for entry in search.front.entries
    }
    assert {(point.x, point.y) for point in figures.front} == wanted
    assert len(figures.cloud) == search.front.evaluations == 40
    assert figures.limit == pytest.approx(0.8 * macs(space.largest(), space.shape))
    assert figures.full is None  # It is beyond the budget.
    assert {point.x for point in figures.hand_made} <= {point.x for point in figures.cloud}
    assert "two pools" in ", ".join(point.name for point in figures.hand_made)


def test_moves_go_from_inherited_to_retrained(search: SearchResult) -> None:
    entry = search.front.entries[0]
    choice = Choice(
        "baseline x",
        entry.arch,
        search.front.shape,
        inherited={"top1": 0.5},
        retrained={"top1": 0.75},
    )
    (move,) = fronts_figures(search, [choice])[0].moves
    assert move.hand_made
    assert move.before is not None
    assert (move.before.y, move.after.y) == (50.0, 75.0)
    assert move.before.x == move.after.x == entry.metrics["macs"]


def test_full_network_is_shown_where_it_was_evaluated(tmp_path: Path) -> None:
    searched(tmp_path / "main", "NSGAIISampler", trials=5, budget="macs=100%")
    space = SPACES["digits"]
    full = fronts_figures(read_search(tmp_path / "main"), [])[0].full
    assert full is not None
    assert full.x == macs(space.largest(), space.shape)


def test_a_search_alone_has_the_hypervolume_of_its_front(search: SearchResult) -> None:
    (curve,) = volumes([search])
    steps = search.front.steps
    assert [count for count, _ in curve.steps] == [count for count, _ in steps]
    ratios = {round(b / a, 9) for (_, a), (_, b) in zip(steps, curve.steps, strict=True) if a}
    assert len(ratios) == 1
    assert 0 < curve.steps[-1][1] <= 1


def test_random_search_is_compared_by_the_same_reference(
    search: SearchResult, tmp_path: Path
) -> None:
    searched(tmp_path / "random", "RandomSampler", trials=30)
    searched(tmp_path / "other", "RandomSampler", trials=5, budget="macs=50%")
    others = [read_search(tmp_path / name) for name in ("random", "other")]
    assert [each.name for each in comparable(search, others)] == ["random"]
    assert comparable(others[0], [search]) == []
    both = volumes([search, others[0]])
    assert [each.evaluations for each in both] == [40, 30]
    # The same archs give the same curve, whichever search they are of.
    assert volumes([search, search])[0] == volumes([search, search])[1]


def test_a_search_that_runs_has_its_front_so_far(search: SearchResult, tmp_path: Path) -> None:
    searched(tmp_path / "main", "NSGAIISampler")
    saved = read_search(tmp_path / "main")
    (tmp_path / "main" / "front.yaml").unlink()
    with (tmp_path / "main" / "journal.log").open("a") as file:
        file.write('{"op_code": 4, "wor')
    found = read_search(tmp_path / "main")
    assert not found.ended
    assert found.front.entries == saved.front.entries
    assert found.front.reference == saved.front.reference


def test_usage_counts_choices_block_by_block() -> None:
    pool, shared = BlockArch(pool=Pool("avg2d", (4, 4))), BlockArch(attention="shared")
    archs = [
        Arch((BlockArch(), pool, shared)),
        Arch((BlockArch(), BlockArch(skip=0.5), BlockArch())),
    ]
    found = usage(archs)
    assert (found.pool, found.share, found.skip) == ((0, 0.5, 0), (0, 0, 0.5), (0, 0.5, 0))
    assert found.most == {"pool": [("avg2d:4x4", 0.5)], "skip": [("50%", 0.5)]}


def test_usage_of_the_space_keeps_the_limit() -> None:
    space = SPACES["digits"]
    limit = 0.4 * macs(space.largest(), space.shape)
    inside, anywhere = usage_of_space(space, limit), usage_of_space(space, None)
    assert sum(inside.pool) > sum(anywhere.pool)


def test_an_epoch_trained_again_counts_once(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text(
        '{"epoch": 0, "loss/a": 3}\n{"epoch": 1, "loss/a": 2}\n{"epoch": 1, "loss/a": 1}\n'
        '{"epoch": 2, "loss/a": NaN, "top1/a": 0.5}\n'
    )
    found = curves(read_log(log), "loss")
    assert found["a"].epochs == (1, 2)
    assert found["a"].values == (3.0, 1.0)
    assert curves(read_log(log), "top1")["a"].epochs == (3,)


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
        (each.get_text(), each.get_window_extent())
        for each in found
        if each.get_visible() and each.get_text()
    ]


LONG = "baseline early pools latency_ms@a_card_of_a_long_name=70%"


def judged(search: SearchResult) -> tuple[SearchResult, list[Choice]]:
    """The search with standard errors, and many retrained networks, some of them beside others."""
    entries = tuple(
        replace(each, error=0.5 if i % 2 else 1e-9) for i, each in enumerate(search.front.entries)
    )
    front = replace(search.front, entries=entries, images=1234)
    names = ["full", LONG, *(f"{90 - i}%" for i in range(8))]
    rows = tuple(
        {"epoch": i, "loss/subnet": 2.0 - i / 9, "top1/subnet": 0.5 + i / 99} for i in range(3)
    )
    choices = [
        Choice(
            name,
            entries[i // 2].arch,
            front.shape,
            inherited={"top1": 0.7},
            retrained={"top1": 0.75 + i / 1e4},
            rows=rows,
            images=5678,
        )
        for i, name in enumerate(names)
    ]
    return replace(search, front=front), choices


def test_nothing_is_written_over_something_else_or_over_an_edge(search: SearchResult) -> None:
    result, choices = judged(search)
    (figures,) = fronts_figures(result, choices)
    pictures = [
        draw_front(figures),
        draw_panels(retraining_panels(choices, Score("top1")), across=True),
        draw_volumes(dict(zip(["a", "b"], volumes([result, result]), strict=True))),
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


def test_the_picture_tells_search_and_test_figures_apart(search: SearchResult) -> None:
    result, choices = judged(search)
    (figures,) = fronts_figures(result, choices)
    told = [lead.told_apart for lead in result.front.leads if lead]
    assert len(figures.close) == told.count(False) > 0
    written = [text for text, _ in texts(draw_front(figures))]
    says = " | ".join(written)
    assert "1,234 images" in says
    assert "5,678 images" in says
    assert "not told apart" in says
    assert "early pools, latency_ms@a_card_of_a_long_name=70%" in says


def test_losses_say_that_lower_is_better() -> None:
    assert Score("cross_entropy", "min").axis == "cross entropy (lower is better)"
    assert Score("top1").axis == "top-1 (%)"
    rows = [{"epoch": 0, "loss/largest": 1.0, "cross_entropy/largest": 2.0}]
    panels = training_panels(rows, Score("cross_entropy", "min"))
    assert [panel.unit.endswith("(lower is better)") for panel in panels] == [True, True]


@pytest.mark.parametrize(
    ("name", "label", "title"),
    [
        ("50%", "within 50%", "Best within 50% of the MACs"),
        ("latency_ms=60%", "within latency_ms=60%", "Best within latency_ms=60%"),
        ("macs=0.8G", "within macs=0.8G", "Best within macs=0.8G"),
        ("baseline early pools latency_ms=60%", "early pools, latency_ms=60%", None),
        ("baseline two pools 50%", "two pools, 50%", None),
        ("003_abcdef", "003_abcdef", "003_abcdef"),
    ],
)
def test_names_keep_their_budgets_whole(name: str, label: str, title: str | None) -> None:
    space = SPACES["digits"]
    choice = Choice(name, space.sample(np.random.default_rng(0)), space.shape)
    assert choice.label == label
    assert choice.title == (title or f"Hand-made: {label}")
