"""What a report says of MACs and milliseconds."""

from statistics import mean

import numpy as np
import pytest
from latency_toys import table_of
from report_runs import make_run
from search_toys import Evaluate, all_archs, toy_space

from search import run_search
from search.latency.costs import digest
from search.latency.table import Measured
from search.report.contents import read_run
from search.report.latencies import latencies
from search.report.making import make_report
from space import InputError, macs


def profile_of(space, name="toy"):
    """A table that has measured every tenth arch of the space."""
    table = table_of(space, name)
    archs = all_archs(space)[::10]
    measured = tuple(Measured(arch, table.predict(arch), 0.01, held_out=True) for arch in archs)
    return type(table)(**{**vars(table), "measured": measured})


def test_operators_share_out_the_whole_time_and_all_macs():
    space = toy_space()
    table = profile_of(space)
    found = latencies(table, None, {})
    full = macs(space.largest(), space.shape)
    assert sum(each.time for each in found.excess) == pytest.approx(
        mean(each.ms for each in table.measured) / table.full_ms
    )
    assert sum(each.macs for each in found.excess) == pytest.approx(
        mean(macs(each.arch, space.shape) for each in table.measured) / full
    )
    beyond = [each.time - each.macs for each in found.excess]
    assert beyond == sorted(beyond, reverse=True)
    for spot, each in zip(found.archs, table.measured, strict=True):
        assert spot.macs == pytest.approx(macs(each.arch, space.shape) / full)
        assert spot.ms == pytest.approx(each.ms / table.full_ms)


def test_a_front_is_shown_by_its_budget_and_its_measurements():
    space, evaluate = toy_space(), Evaluate(toy_space())
    table = profile_of(space)
    front = run_search(
        space=space,
        evaluate=lambda arch: {"top1": evaluate(arch)["top1"]},
        budget="latency_ms=80%",
        trials=20,
        latency=[table],
    )
    digests = {"latency_ms": digest(table)}
    found = latencies(table, front, {"latency_ms": 0.8 * table.full_ms}, digests)
    assert found.limit == pytest.approx(0.8)
    assert len(found.front) == len(front)
    assert all(spot.ms <= 0.8 + 1e-6 for spot in found.front)
    assert found.measured == ()
    assert latencies(table, front, {}, digests).limit is None


def test_the_report_has_a_picture_for_each_table(tmp_path):
    space = toy_space()
    make_run(tmp_path, space, trials=10, random=False, hand_made=False)
    (tmp_path / "latency").mkdir()
    for name in ("Phone", "server"):
        profile_of(space, name).save(tmp_path / "latency" / f"{name}.yaml")
    page = make_report(tmp_path)
    assert {path.name for path in page.parent.glob("latency-*.png")} == {
        "latency-phone.png",
        "latency-server.png",
    }
    text = page.read_text(encoding="utf-8")
    assert "MACs and milliseconds" in text
    most = read_run(tmp_path, "main").latencies[0].excess[0]
    assert f"takes &#x27;{most.operator}&#x27;" in text
    (tmp_path / "latency" / "Phone.yaml").write_text("name: phone\n")
    with pytest.raises(InputError, match=r"Phone\.yaml:1: missing 'schema'"):
        make_report(tmp_path)


def test_saved_time_is_relative_to_the_macs():
    space = toy_space()
    table = profile_of(space)
    found = latencies(table, None, {})
    full = macs(space.largest(), space.shape)
    ratios = [
        (1 - each.ms / table.full_ms) / (1 - macs(each.arch, space.shape) / full)
        for each in table.measured
        if macs(each.arch, space.shape) < 0.99 * full
    ]
    assert found.saved == pytest.approx(float(np.mean(ratios)))
