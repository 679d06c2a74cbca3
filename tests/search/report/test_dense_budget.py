"""What a report says of a budget that does not count the head."""

from dataclasses import replace

import pytest
from dense_toys import dense_supernet
from matplotlib.figure import Figure

from search import run_search
from search.report import plots
from search.report.front_data import collect_front_data
from search.report.network_table import make_network_table
from search.report.networks import Network
from search.report.report import _describe_limits
from search.report.run_results import read_run
from search.report.search_data import count_usage
from search.report.search_result import Score, read_search
from space import macs
from space.baselines import baselines
from space.cost import backbone_macs


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A space with a dense head, and the folder of a run with a search in it."""
    space, folder = dense_supernet().space, tmp_path_factory.mktemp("run")
    run_search(
        space=space,
        evaluate=lambda arch: {"rmse": 1.0 + 1e5 / macs(arch, space.shape)},
        objectives=["rmse=min", "macs"],
        budget="backbone_macs=70%",
        trials=20,
        folder=folder / "search" / "main",
    )
    return space, folder


def test_the_plot_of_the_front_has_the_budget_and_hand_made_archs_within_it(searched):
    space, run = searched
    search, shape = read_search(run / "search" / "main"), space.shape
    full, head = macs(space.largest(), shape), shape.head.macs
    (data,) = collect_front_data(search, [])
    assert data.limit == pytest.approx(0.7 * (full - head) + head)
    within = {macs(each.arch, shape) for each in baselines(space, data.limit) if each.arch}
    assert within
    assert {point.x for point in data.hand_made} == within
    assert max(within) <= data.limit


def test_choices_are_compared_with_archs_inside_the_budget(searched, monkeypatch):
    space, run = searched
    limits = []

    def sample_usage(space, floor, limit):
        limits.append((floor, limit))
        return count_usage([space.smallest()])

    monkeypatch.setattr(plots, "sample_usage", sample_usage)
    monkeypatch.setattr(plots, "draw_usage", lambda *_: Figure())
    results = read_run(run, "main")
    drawn = {each.stem: each for each in plots._draw_search(results.search, results)}
    full, head = macs(space.largest(), space.shape), space.shape.head.macs
    assert limits == [(0, pytest.approx(0.7 * (full - head) + head))]
    assert "drawn uniformly inside the budget" in drawn["choices"].caption
    ranged = replace(results.search, floors={"backbone_macs": 0.5 * (full - head)})
    list(plots._draw_search(ranged, results))
    assert limits[1] == (pytest.approx(0.5 * (full - head) + head), limits[0][1])
    # Of two lower limits the higher one counts.
    floors = {"macs": 0.6 * full, "backbone_macs": 0.1 * (full - head)}
    assert replace(results.search, floors=floors).mac_floor == 0.6 * full


def test_a_budget_is_told_as_a_share(searched):
    _, run = searched
    (line,) = _describe_limits(read_search(run / "search" / "main"))
    assert line.startswith("backbone_macs at most ")
    assert line.endswith("(70% of the full network)")


def test_an_arch_has_its_share_without_the_head(searched):
    space, run = searched
    arch = space.smallest()
    share = backbone_macs(arch, space.shape) / backbone_macs(space.largest(), space.shape)
    results = replace(read_run(run, "main"), networks=[Network("n", arch, space.shape)])
    (plot,) = plots._draw_archs(results)
    assert f"% of the MACs, {share:.0%} without head. " in plot.caption


def test_a_found_network_that_people_build_by_hand_is_told(searched):
    space, _ = searched
    by_hand = [
        each for each in baselines(space, 0.9 * macs(space.largest(), space.shape)) if each.arch
    ]
    assert by_hand
    score = Score("rmse")
    for each in by_hand:
        names = [f"baseline {each.name}", "70%", "full"]
        archs = [each.arch, each.arch, space.largest()]
        networks = [Network(*pair, space.shape) for pair in zip(names, archs, strict=True)]
        notes = make_network_table(networks, score, score, space=space).notes
        (note,) = (note for note in notes if "hand-made" in note)
        assert note.startswith("70% is hand-made too: ")
        assert each.name in note
        assert not any("hand-made" in x for x in make_network_table(networks, score, score).notes)
    smallest = [Network("50%", space.smallest(), space.shape)]
    notes = make_network_table(smallest, score, score, space=space).notes
    assert not any("hand-made" in note for note in notes)
