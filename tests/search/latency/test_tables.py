"""Which table a search rests on, with several at hand; and what its front is timed by."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from latency_toys import CONDITIONS, table_of
from rich.console import Console
from search_toys import Evaluate, toy_space

from search import run_search
from search.latency import measure as measuring
from search.latency.costs import digest, make_problem, match_tables
from search.latency.measure import device_name, get_synchronize
from search.pipeline import latencies as timing
from search.pipeline.check import _check_budget
from search.pipeline.config import Config, SearchConfig
from search.pipeline.latencies import (
    choose_tables,
    format_latencies,
    tables_by_cost,
    time_archs,
    time_front,
)
from search.pipeline.run_folder import RunFolder
from search.pipeline.search import show_front
from search.report.latency_data import collect_latency_data
from search.report.search_result import SearchResult
from search.study.options import SearchOptions
from search.study.search_file import SearchFile
from space import InputError
from supernet.tasks.registry import directions


def accuracy(arch):
    return {"top1": Evaluate(toy_space())(arch)["top1"]}


def quicker(table, factor=0.5):
    return replace(
        table,
        terms={term: factor * ms for term, ms in table.terms.items()},
        full_ms=factor * table.full_ms,
    )


@pytest.fixture
def run(tmp_path):
    """A run's folder with a table and a search by it."""
    space = toy_space()
    (tmp_path / "latency").mkdir()
    table_of(space, "cpu").save(tmp_path / "latency" / "cpu.yaml")
    run_search(
        space=space,
        evaluate=accuracy,
        budget="latency_ms=80%",
        trials=12,
        folder=tmp_path / "search" / "main",
        options=SearchOptions(latency=[tmp_path / "latency" / "cpu.yaml"]),
    )
    return tmp_path


def config_of(run, **search):
    return Config(run=str(run), search=SearchConfig(**{"budget": "latency_ms=80%", **search}))


def names_of(config):
    return [table.name for table in choose_tables(RunFolder(config, None))]


def test_a_search_goes_on_with_its_table_whatever_was_measured_since(run):
    assert names_of(config_of(run)) == ["cpu"]
    quicker(table_of(toy_space(), "gpu")).save(run / "latency" / "gpu.yaml")
    assert names_of(config_of(run)) == ["cpu"]
    assert names_of(config_of(run, budget="latency_ms@gpu=80%")) == ["gpu"]
    both = "latency_ms@gpu=80%, latency_ms@cpu=70%"
    assert names_of(config_of(run, budget=both)) == ["gpu", "cpu"]
    with pytest.raises(InputError, match="several latency tables; choose one of cpu, gpu, as in"):
        names_of(config_of(run, name="other"))
    with pytest.raises(InputError, match="latency_ms@tpu: no latency table of tpu; choose one of"):
        names_of(config_of(run, budget="latency_ms@tpu=80%"))
    assert names_of(config_of(run, budget="macs=80%")) == []


def test_figures_are_said_of_the_device_that_they_are_of(run):
    space, config = toy_space(), config_of(run)
    folder = RunFolder(config, None)
    gpu = quicker(replace(table_of(space, "gpu"), conditions=replace(CONDITIONS, device="a GPU")))
    gpu.save(run / "latency" / "gpu.yaml")
    found = tables_by_cost(folder)
    assert {name: table.name for name, table in found.items()} == {"latency_ms": "cpu"}
    front = run_search(
        space=space,
        evaluate=accuracy,
        budget="latency_ms=80%",
        trials=12,
        folder=run / "search" / "main",
        options=SearchOptions(latency=[table_of(space, "cpu")]),
    )
    said = format_latencies(front.entries[0], found)
    assert said.keys() == {"latency_ms"}
    assert said["latency_ms"]["device"] == CONDITIONS.device
    limits, digests = {"latency_ms": 8.0}, SearchFile.load(run / "search" / "main").latency
    search = SearchResult("main", front, limits=limits, tables=digests)
    assert collect_latency_data(found["latency_ms"], search).limit is not None
    other = collect_latency_data(gpu, search)
    assert (other.limit, other.measured) == (None, [])
    # Measured anew under the same name it is another table: nothing is said by it.
    quicker(table_of(space, "cpu")).save(run / "latency" / "cpu.yaml")
    assert tables_by_cost(folder) == {}


def stand_in(monkeypatch, table, seconds):
    """A supernet whose subnets take so much of the profile's: the full one, and 1.02 all others."""
    space = toy_space()
    monkeypatch.setattr(
        timing, "make_forward_passes", lambda net, archs, *_: {space.identity(a): a for a in archs}
    )
    full = table.full_ms / 1e3 * seconds

    def turns(runs, rounds, wait, warm_up, seed):
        times = {name: 1.02 * seconds * table.predict(a) / 1e3 for name, a in runs.items()}
        times[space.identity(space.largest())] = full
        return {name: [each] for name, each in times.items()}

    monkeypatch.setattr(measuring, "time_interleaved", turns)
    net = torch.nn.Linear(1, 1)
    net.space, net.shape = space, space.shape
    return net


def timed(monkeypatch, front, table, seconds, *, names=("latency_ms",), earlier=None):
    """The front after it was timed: the full network takes `seconds` of the profile's."""
    tables = dict.fromkeys(names, table)
    net = stand_in(monkeypatch, table, seconds)
    return time_front(front, earlier, net, tables, Console(width=200))


def test_what_was_measured_stands_beside_what_was_predicted(monkeypatch, capsys):
    space = toy_space()
    here = replace(CONDITIONS, device=device_name(torch.device("cpu")))
    table = replace(table_of(space, "cpu"), conditions=here)
    names = ("latency_ms", "latency_ms@cpu")
    front = run_search(
        space=space,
        evaluate=accuracy,
        objectives=["top1", "latency_ms"],
        budget="latency_ms@cpu=80%",
        trials=12,
        options=SearchOptions(latency=[table]),
    )
    assert front.full.keys() >= set(names)
    found = timed(monkeypatch, front, table, 1.3, names=names)
    for entry in found.entries:
        for name in names:
            predicted = entry.metrics[name]
            assert entry.metrics[f"measured_{name}"] == pytest.approx(1.326 * predicted, rel=1e-6)
    limit = 0.8 * table.full_ms
    beyond = [1.326 * entry.metrics["latency_ms"] > limit for entry in found.entries]
    said = capsys.readouterr().out
    show_front(found, Console(width=200), {"latency_ms@cpu": limit})
    rows = capsys.readouterr().out.splitlines()
    marked = {int(row.split()[0]) for row in rows if "latency_ms@cpu is over by" in row}
    over = {entry.trial for entry, more in zip(found.entries, beyond, strict=True) if more}
    assert marked == over
    assert over
    assert "the full one takes 1.30 times as long as when it was profiled" in said
    assert "The device's speed has changed" in said
    # What was measured before stays.
    again = timed(monkeypatch, front, table, 9.0, names=names, earlier=found)
    assert again.entries == found.entries


def test_a_device_that_is_elsewhere_is_not_timed(monkeypatch):
    table = table_of(toy_space())
    front = run_search(
        space=toy_space(),
        evaluate=accuracy,
        budget="latency_ms=80%",
        trials=5,
        options=SearchOptions(latency=[table]),
    )
    found = timed(monkeypatch, front, table, 1.0)
    assert not any("measured_latency_ms" in entry.metrics for entry in found.entries)


def test_any_archs_are_timed_where_the_device_is_at_hand(monkeypatch, capsys):
    space = toy_space()
    here = replace(CONDITIONS, device=device_name(torch.device("cpu")))
    cpu = replace(table_of(space, "cpu"), conditions=here)
    gpu = replace(table_of(space, "gpu"), conditions=replace(CONDITIONS, device="a GPU"))
    archs = [space.smallest(), space.largest()]
    tables = {"latency_ms@cpu": cpu, "latency_ms@gpu": gpu}
    net = stand_in(monkeypatch, cpu, 1.2)
    found = time_archs(archs, net, tables, Console(width=200))
    assert found.keys() == set(map(space.identity, archs))
    for arch, factor in zip(archs, (1.02 * 1.2, 1.2), strict=True):
        said = found[space.identity(arch)]
        measured, predicted = said["latency_ms@cpu"], said["latency_ms@gpu"]
        assert measured["value"] == pytest.approx(factor * cpu.predict(arch), abs=1e-4)
        assert predicted["value"] == pytest.approx(gpu.predict(arch), abs=1e-4)
        assert (measured["measured"], predicted["measured"]) == (True, False)
        assert (measured["device"], predicted["device"]) == (here.device, "a GPU")
    said = capsys.readouterr().out
    assert "latency_ms@gpu: a GPU is not available: predicted only" in said
    assert "2 networks timed on" in said


def test_what_cannot_be_timed_is_predicted(monkeypatch, capsys):
    space = toy_space()
    here = replace(CONDITIONS, device=device_name(torch.device("cpu")))
    tables = {"latency_ms": replace(table_of(space, "cpu"), conditions=here)}
    net = stand_in(monkeypatch, tables["latency_ms"], 1.0)

    def fails(*_):
        raise torch.OutOfMemoryError("no room\nat all")

    monkeypatch.setattr(timing, "make_forward_passes", fails)
    found = time_archs([space.smallest()], net, tables, Console(width=200))
    (said,) = found.values()
    assert said["latency_ms"]["measured"] is False
    assert said["latency_ms"]["value"] == pytest.approx(
        tables["latency_ms"].predict(space.smallest()), abs=1e-4
    )
    told = "latency_ms: cannot be measured, predicted only: no room at all"
    assert told in capsys.readouterr().out
    front = run_search(
        space=space,
        evaluate=accuracy,
        budget="latency_ms=80%",
        trials=5,
        options=SearchOptions(latency=list(tables.values())),
    )
    assert time_front(front, None, net, tables, Console(width=200)).entries == front.entries
    assert told in capsys.readouterr().out


def test_reused_evaluations_bring_no_latency_of_another_table(run):
    space = toy_space()
    phone = quicker(table_of(space, "phone"), 3.0)
    front = run_search(
        space=space,
        evaluate=accuracy,
        objectives=["top1", "latency_ms@phone"],
        trials=12,
        folder=run / "search" / "phone",
        options=SearchOptions(latency=[phone], reuse=[run / "search" / "main"]),
    )
    assert len(front) > 1
    for entry in front.entries:
        assert "latency_ms" not in entry.metrics
        predicted = phone.predict(entry.arch)
        assert entry.metrics["latency_ms@phone"] == pytest.approx(predicted, rel=1e-4)


def test_tables_of_equal_predictions_on_other_devices_differ():
    table = table_of(toy_space())
    other = replace(table, conditions=replace(CONDITIONS, batch=9))
    assert digest(table) == digest(replace(table, name="other", measured=()))
    assert digest(table) != digest(other)
    assert match_tables([other], {"latency_ms": digest(table)}) == {}


def test_a_budget_of_retraining_that_no_arch_keeps_is_told_before(run):
    space, table = toy_space(), table_of(toy_space(), "cpu")

    def within(budget):
        return make_problem(space, ["top1"], budget, directions(), [table])

    run = SimpleNamespace(space=space, problem=within("latency_ms=80%"), problem_within=within)
    _check_budget("latency_ms=70%", run)
    with pytest.raises(InputError, match="no arch is that cheap"):
        _check_budget("latency_ms=0.0001", run)
    with pytest.raises(InputError, match="has no cost 'latency_ms@phone'"):
        _check_budget("latency_ms@phone=3", run)


def test_what_cannot_be_waited_for_cannot_be_timed():
    get_synchronize(torch.device("cpu"))()
    with pytest.raises(InputError, match="device: 'meta' cannot be timed"):
        get_synchronize(torch.device("meta"))
