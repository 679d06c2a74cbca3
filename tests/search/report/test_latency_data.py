"""What a report says of MACs and milliseconds."""

import html
from dataclasses import replace
from statistics import mean

import pytest
from latency_toys import table_of
from report_runs import make_run
from search_toys import Evaluate, all_archs, toy_space

from search import run_search
from search.latency.costs import digest
from search.latency.table import MeasuredArch
from search.report import make_report
from search.report.front_data import collect_front_data
from search.report.latency_data import collect_latency_data
from search.report.network_table import make_network_table
from search.report.networks import Network, SpeedFigure
from search.report.run_results import read_run
from search.report.search_result import Score, SearchResult, read_search
from search.study.options import SearchOptions
from space import InputError, macs


def profile_of(space, name="toy"):
    """A table that has measured every tenth arch of the space."""
    table = table_of(space, name)
    archs = all_archs(space)[::10]
    measured = tuple(MeasuredArch(arch, table.predict(arch), 0.01, held_out=True) for arch in archs)
    return type(table)(**{**vars(table), "measured": measured})


def searched(table, folder=None):
    """The front of the toy space within four fifths of the full network's milliseconds."""
    space, evaluate = toy_space(), Evaluate(toy_space())
    return run_search(
        space=space,
        evaluate=lambda arch: {"top1": evaluate(arch)["top1"]},
        budget="latency_ms=80%",
        trials=20,
        folder=folder,
        options=SearchOptions(latency=[table]),
    )


def test_operators_share_out_the_whole_time_and_all_macs():
    space = toy_space()
    table = profile_of(space)
    found = collect_latency_data(table)
    full = macs(space.largest(), space.shape)
    assert sum(each.time for each in found.operators) == pytest.approx(
        mean(each.ms for each in table.measured) / table.full_ms
    )
    assert sum(each.macs for each in found.operators) == pytest.approx(
        mean(macs(each.arch, space.shape) for each in table.measured) / full
    )
    beyond = [each.time - each.macs for each in found.operators]
    assert beyond == sorted(beyond, reverse=True)
    for spot, each in zip(found.archs, table.measured, strict=True):
        assert spot.macs == pytest.approx(macs(each.arch, space.shape) / full)
        assert spot.ms == pytest.approx(each.ms / table.full_ms)


def test_a_front_is_shown_by_its_budget_and_its_measurements():
    space = toy_space()
    table = profile_of(space)
    front = searched(table)
    digests = {"latency_ms": digest(table)}
    limits = {"latency_ms": 0.8 * table.full_ms}
    found = collect_latency_data(table, SearchResult("main", front, limits=limits, tables=digests))
    assert found.limit == pytest.approx(0.8)
    assert len(found.predicted) == len(front)
    assert all(spot.ms <= 0.8 + 1e-6 for spot in found.predicted)
    assert not found.measured
    without = SearchResult("main", front, tables=digests)
    assert collect_latency_data(table, without).limit is None


def test_the_report_has_a_picture_for_each_table(tmp_path):
    space = toy_space()
    make_run(tmp_path, space, trials=10, random=False, hand_made=False)
    (tmp_path / "latency").mkdir()
    for name in ("Phone", "server"):
        profile_of(space, name).save(tmp_path / "latency" / f"{name}.yaml")
    page = make_report(tmp_path)
    assert {path.name for path in page.parent.glob("latency-*.png")} == {
        "latency-Phone.png",
        "latency-server.png",
    }
    text = html.unescape(page.read_text(encoding="utf-8"))
    assert "MACs and milliseconds" in text
    most = read_run(tmp_path, "main").latencies[0].operators[0]
    assert f"'{most.operator}' exceeds its share" in text
    (tmp_path / "latency" / "Phone.yaml").write_text("name: phone\n")
    with pytest.raises(InputError, match=r"Phone\.yaml:1: missing 'schema'"):
        make_report(tmp_path)


def test_a_front_within_milliseconds_is_drawn_over_them_too(tmp_path):
    space = toy_space()
    table = profile_of(space)
    front = searched(table, tmp_path / "search" / "main")
    retrained = Network(
        "50%",
        front.entries[0].arch,
        space.shape,
        inherited={"top1": 0.5},
        retrained={"top1": 0.75},
        latencies={"latency_ms": SpeedFigure(4.5, measured=True)},
    )
    elsewhere = Network("x", front.entries[-1].arch, space.shape, retrained={"top1": 0.6})
    search = read_search(tmp_path / "search" / "main")
    by_macs, by_ms = collect_front_data(search, [retrained, elsewhere])
    assert (by_macs.cost, by_ms.cost) == ("macs", "latency_ms")
    assert (by_macs.is_line, by_ms.is_line) == (True, False)
    assert by_macs.limit is None
    assert by_ms.limit == pytest.approx(0.8 * table.full_ms)
    wanted = {(e.metrics["latency_ms"], 100 * e.metrics["top1"]) for e in front.entries}
    assert {(point.x, point.y) for point in by_ms.front} == wanted
    assert len(by_ms.evaluated) == 20
    assert len(by_macs.retrained) == 2
    # What was never timed has no place over milliseconds.
    (move,) = by_ms.retrained
    assert (move.before.x, move.after.x, move.after.y) == (4.5, 4.5, 75.0)
    page = make_report(tmp_path)
    assert {each.name for each in page.parent.glob("front*.png")} == {
        "front.png",
        "front-latency_ms.png",
    }


def test_the_table_tells_measured_milliseconds_from_predicted_ones():
    arch = toy_space().largest()
    predicted = SpeedFigure(3.25, measured=False)
    networks = [
        Network("a", arch, toy_space().shape, latencies={"latency_ms": SpeedFigure(4.5, "cpu")}),
        Network("b", arch, toy_space().shape, latencies={"latency_ms": predicted}),
        Network("c", arch, toy_space().shape),
    ]
    final = make_network_table(networks, Score("top1"), Score("top1"))
    (column,) = (each for each in final.columns if each.title == "latency_ms")
    assert column.cells == ["4.5", "~3.25", ""]
    assert "latency_ms: of a batch, measured on cpu." in final.notes
    assert "latency_ms: of a batch, predicted (~)." in final.notes


def test_a_network_that_took_longer_than_its_budget_is_told():
    arch, shape = toy_space().largest(), toy_space().shape

    def network(name, ms, measured=True, cost="latency_ms"):
        return Network(name, arch, shape, latencies={cost: SpeedFigure(ms, measured=measured)})

    networks = [
        network("latency_ms=60%", 6.6),
        network("latency_ms=8", 7.9),
        network("latency_ms=7", 7.7, measured=False),
        network("50%", 99.0),
        network("random latency_ms@gpu=3", 3.3, cost="latency_ms@gpu"),
        network("full", 11.0),
    ]
    full = {"macs": 1e9, "latency_ms": 10.0, "latency_ms@gpu": 5.0}
    for costs, expected in (
        (
            full,
            [
                "latency_ms=60% exceeds its budget: latency_ms is 6.6, 10.0% over 6.",
                "random latency_ms@gpu=3 exceeds its budget: latency_ms@gpu is 3.3, 10.0% over 3.",
            ],
        ),
        ({}, []),
    ):
        notes = make_network_table(networks, Score("top1"), Score("top1"), full=costs).notes
        assert [note for note in notes if "exceeds" in note] == expected


def test_the_report_tells_what_exceeds_its_budget(tmp_path, monkeypatch, capsys):
    space = toy_space()
    table = profile_of(space)
    front = searched(table, tmp_path / "search" / "main")
    slow = SpeedFigure(2 * table.full_ms, measured=True)
    network = Network(
        "latency_ms=60%", front.entries[0].arch, space.shape, latencies={"latency_ms": slow}
    )
    results = replace(read_run(tmp_path, "main"), networks=[network])
    monkeypatch.setattr("search.report.report.read_run", lambda *_: results)
    page = make_report(tmp_path)
    for shown in (page.read_text(), " ".join(capsys.readouterr().out.split())):
        assert "latency_ms=60% exceeds its budget" in shown
