"""What the pictures of a report draw, apart from the drawing."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import report_runs as runs
from report_runs import SPACES, searched

from search.report.arch_data import collect_arch_data
from search.report.front_data import collect_front_data
from search.report.networks import Network
from search.report.plot_arch import draw_arch
from search.report.search_data import (
    Usage,
    compute_hypervolumes,
    count_usage,
    drop_unused,
    sample_usage,
)
from search.report.search_result import Score, SearchResult, read_search
from search.report.style import to_png
from search.report.training_log import collect_curves, read_log
from space import Arch, BlockArch, Pool, SearchSpace, macs, token_counts
from space.cost import MacCost
from space.operators.walk import trace


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
        figures = collect_arch_data(arch, space.shape)
        assert [each.tokens for each in figures] == token_counts(arch, space.shape)
        rest = MacCost(space.shape).rest(trace(arch, space.shape).states[-1])
        assert sum(each.macs for each in figures) + rest == macs(arch, space.shape)
        for i, (each, block) in enumerate(zip(figures, arch.blocks, strict=True)):
            assert bool(each.pool) == (block.pool is not None)
            assert bool(each.bypass) == (block.skip > 0)
            assert (each.producer is not None) == block.shared
            if each.producer is not None:
                assert not arch.blocks[each.producer].shared
                assert all(one.shared for one in arch.blocks[each.producer + 1 : i + 1])
        for each, after in itertools.pairwise(figures):
            assert each.tokens + each.bypass == after.tokens_before


def test_block_figures_of_runs_and_poolings_in_a_row() -> None:
    shape = runs.vit_shape(6, 64, 4, 8)
    skip, shared = BlockArch(skip=0.5), BlockArch(skip=0.5, attention="shared")
    pools = (BlockArch(pool=Pool("avg2d", (4, 6))), BlockArch(pool=Pool("max1d", stride=5)))
    arch = Arch((BlockArch(), skip, shared, BlockArch(), *pools))
    figures = collect_arch_data(arch, shape)
    assert [each.tokens for each in figures] == [64, 32, 32, 64, 24, 5]
    assert [each.bypass for each in figures] == [0, 32, 32, 0, 0, 0]
    assert [each.selector for each in figures] == ["", "map", "", "", "", ""]
    assert [each.producer for each in figures] == [None, None, 1, None, None, None]
    assert figures[4].pool == "avg2d\n8 x 8\n→ 4 x 6"
    assert figures[5].pool == "max1d\n4 x 6\n→ 5"


def test_the_picture_of_a_deep_arch_is_no_wider_than_a_page() -> None:
    shape = runs.vit_shape(40, 64, 4, 16)
    png = to_png(draw_arch(Network("x", Arch.full(40), shape), Score("top1")))
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    assert int.from_bytes(png[16:20], "big") <= 1800


def test_the_front_is_drawn_as_it_was_found(search: SearchResult) -> None:
    space = SPACES["digits"]
    figures = collect_front_data(search, [])[0]
    wanted = {
        (entry.metrics["macs"], 100 * entry.metrics["top1"]) for entry in search.front.entries
    }
    assert {(point.x, point.y) for point in figures.front} == wanted
    assert len(figures.evaluated) == search.front.evaluations == 40
    assert figures.limit == pytest.approx(0.8 * macs(space.largest(), space.shape))
    assert figures.full is None  # It is beyond the budget.
    assert {point.x for point in figures.hand_made} <= {point.x for point in figures.evaluated}
    assert "two pools" in ", ".join(point.name for point in figures.hand_made)


def test_moves_go_from_inherited_to_retrained(search: SearchResult) -> None:
    entry = search.front.entries[0]
    network = Network(
        "baseline x",
        entry.arch,
        search.front.shape,
        inherited={"top1": 0.5},
        retrained={"top1": 0.75},
    )
    (move,) = collect_front_data(search, [network])[0].retrained
    assert move.is_control
    assert move.before is not None
    assert (move.before.y, move.after.y) == (50.0, 75.0)
    assert move.before.x == move.after.x == entry.metrics["macs"]


def test_full_network_is_shown_where_it_was_evaluated(tmp_path: Path) -> None:
    searched(tmp_path / "main", "NSGAIISampler", trials=5, budget="macs=100%")
    space = SPACES["digits"]
    full = collect_front_data(read_search(tmp_path / "main"), [])[0].full
    assert full is not None
    assert full.x == macs(space.largest(), space.shape)


def test_a_search_alone_has_the_hypervolume_of_its_front(search: SearchResult) -> None:
    (curve,) = compute_hypervolumes([search])
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
    assert [each.name for each in search.find_random(others)] == ["random"]
    assert others[0].find_random([search]) == []
    both = compute_hypervolumes([search, others[0]])
    assert [each.evaluations for each in both] == [40, 30]
    # The same archs give the same curve, whichever search they are of.
    assert compute_hypervolumes([search, search])[0] == compute_hypervolumes([search, search])[1]


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
    pools, skips, shares = count_usage(archs)
    assert (pools.shares, shares.shares, skips.shares) == ([0, 0.5, 0], [0, 0, 0.5], [0, 0.5, 0])


def test_operators_that_no_arch_uses_have_no_usage() -> None:
    never, some, all_ = (
        Usage(name, shares) for name, shares in {"a": (0, 0), "b": (0, 0.5), "c": (1, 1)}.items()
    )
    assert drop_unused([never, some, all_], None) == ([some, all_], None)
    assert drop_unused([never, never, all_], [never, some, all_]) == ([never, all_], [some, all_])
    assert drop_unused([never], [never]) == ([], [])


def test_usage_of_the_space_keeps_the_limit() -> None:
    space = SPACES["digits"]
    limit = 0.4 * macs(space.largest(), space.shape)
    inside, anywhere = sample_usage(space, 0, limit), sample_usage(space, 0, None)
    assert sum(inside[0].shares) > sum(anywhere[0].shares)
    # Archs near the limit pool later than all below it.
    near = sample_usage(space, 0.9 * limit, limit)
    assert near[0].shares[0] < inside[0].shares[0]


def test_an_epoch_trained_again_counts_once(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text(
        '{"epoch": 0, "loss/a": 3}\n{"epoch": 1, "loss/a": 2}\n{"epoch": 1, "loss/a": 1}\n'
        '{"epoch": 2, "loss/a": NaN, "top1/a": 0.5}\n'
    )
    found = collect_curves(read_log(log), "loss")
    assert found["a"] == {1: 3.0, 2: 1.0}
    assert collect_curves(read_log(log), "top1")["a"] == {3: 0.5}


def test_an_epoch_too_large_for_a_curve_is_skipped(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text(f'{{"epoch": 0, "loss/a": 3}}\n{{"epoch": 1{"0" * 400}, "loss/a": 2}}\n')
    assert collect_curves(read_log(log), "loss")["a"] == {1: 3.0}
