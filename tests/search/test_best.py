"""Which subnet of a front is the best, and which way limits on metrics point."""

import io
import re
from dataclasses import replace

import pytest
import report_runs as runs
from latency_toys import table_of
from rich.console import Console
from search_toys import Evaluate, toy_space

from search.front.front import Front
from search.problem.objectives import Objective
from search.report import make_report
from search.report.report import summarise_run
from search.report.run_results import read_run
from search.run import run_search
from search.study.options import SearchOptions
from space import InputError
from space.utils.yaml_file import read_yaml, write_yaml
from supernet.tasks.registry import directions

SPACE = toy_space()


def own_cost(arch):
    return sum(2.0 - block.shared for block in arch.blocks)


@pytest.mark.parametrize(
    "costs",
    [["macs"], ["params", "macs"], ["latency_ms"], [Objective("own", "min", own_cost)]],
    ids=["macs", "params and macs", "latency", "own function"],
)
def test_the_best_is_that_of_the_first_measured_objective(tmp_path, costs):
    found = run_search(
        space=SPACE,
        evaluate=lambda arch: {"top1": Evaluate(SPACE)(arch)["top1"]},
        objectives=[*costs, "top1"],
        trials=40,
        options=SearchOptions(latency=[table_of(SPACE)]),
    )
    found.save(tmp_path / "front.yaml")
    # Files of earlier versions list the entries by the first objective.
    by_cost = sorted(found.entries, key=lambda entry: entry.values[0])
    for front in (found, Front.load(tmp_path / "front.yaml"), replace(found, entries=by_cost)):
        assert front.ranked_by.name == "top1"
        for share in (50, 70, 100):
            limit = front.full["macs"] * share / 100
            within = [e for e in front.entries if e.metrics["macs"] <= limit]
            best = max(within, key=lambda entry: entry.metrics["top1"])
            assert front.best(macs=f"{share}%") == best
    assert found.entries[0] == found.best()
    assert found.best() != by_cost[0]


@pytest.mark.parametrize("objectives", [["macs", "params"], [Objective("own", "max", own_cost)]])
def test_without_a_measured_objective_none_is_the_best(tmp_path, objectives):
    found = run_search(space=SPACE, evaluate=Evaluate(SPACE), objectives=objectives, trials=10)
    found.save(tmp_path / "front.yaml")
    for front in (found, Front.load(tmp_path / "front.yaml")):
        assert len(front) > 0
        with pytest.raises(InputError, match=r"no objective of its search \(.*\) is measured"):
            front.best(macs="70%")


def test_a_function_that_fails_on_the_full_arch_costs_a_search_nothing(tmp_path):
    def fails(arch):
        return 1 / sum(block.shared for block in arch.blocks)

    objectives = [Objective("own", "min", fails), "top1"]
    front = run_search(space=SPACE, evaluate=Evaluate(SPACE), objectives=objectives, trials=20)
    assert front.failed > 0
    assert len(front) > 0
    assert "own" not in front.full
    # Nor is it what says which one is best, also once it is a name in a file alone.
    front.save(tmp_path / "front.yaml")
    again = Front.load(tmp_path / "front.yaml")
    assert again == front
    assert again.ranked_by.name == "top1"
    assert again.best() == front.best() == max(front.entries, key=lambda e: e.metrics["top1"])


def test_limits_go_by_the_metrics_own_direction(tmp_path):
    def evaluate(arch):
        top1 = Evaluate(SPACE)(arch)["top1"]
        return {"kl": 1 - top1, "top1": top1, "f1": top1 / 2, "ece": 1 - top1}

    found = run_search(
        space=SPACE,
        evaluate=evaluate,
        objectives=["kl=min", "macs"],
        trials=40,
        directions={"f1": "max", "ece": "min"},
    )
    found.save(tmp_path / "front.yaml")
    for front in (found, Front.load(tmp_path / "front.yaml")):
        assert (front.direction("f1"), front.direction("top1")) == ("max", "max")
        assert (front.direction("ece"), front.direction("macs")) == ("min", "min")
        half = front.entries[len(front) // 2].metrics
        for name in ("top1", "f1"):
            assert front.best(**{name: half[name]}) == front.entries[0]
            assert front.best(**{name: 1.1}) is None
        for name in ("ece", "kl"):
            assert front.best(**{name: half[name]}) == front.entries[0]
            assert front.best(**{name: 1e-6}) is None
        limits = {"top1": half["top1"], "macs": half["macs"]}
        assert front.best(**limits).metrics["top1"] >= half["top1"]
        assert front.best(**limits | {"macs": half["macs"] - 1}) is None


def test_a_metric_of_which_nothing_says_what_is_better_has_no_limit():
    def evaluate(arch):
        return {"top1": (top1 := Evaluate(SPACE)(arch)["top1"]), "f1": top1}

    front = run_search(space=SPACE, evaluate=evaluate, trials=20)
    says = "nothing says whether more of it is better; say so by an objective f1=max or f1=min"
    with pytest.raises(InputError, match=f"budget f1: {says}"):
        front.best(f1=0.5)
    with pytest.raises(InputError, match=f"budget f1: {says}"):
        run_search(space=SPACE, evaluate=evaluate, trials=20, budget="f1=0.5")
    good = run_search(
        space=SPACE,
        evaluate=evaluate,
        trials=20,
        budget="f1=0.5",
        directions={**directions(), "f1": "max"},
    )
    assert all(entry.metrics["f1"] >= 0.5 for entry in good.entries)


@pytest.mark.parametrize("ended", [True, False])
def test_the_best_of_a_report_is_that_of_the_first_measured_objective(tmp_path, ended):
    space, folder = runs.digits_space(), tmp_path / "search" / "main"
    front = run_search(
        space=space,
        evaluate=lambda arch: runs.made_up_top1(arch, space),
        objectives=["latency_ms", "top1"],
        trials=12,
        folder=folder,
        options=SearchOptions(latency=[table_of(space)]),
    )
    if not ended:
        (folder / "front.yaml").unlink()
    check_ranked_by_top1(read_run(tmp_path, "main"), front)


def check_ranked_by_top1(results, front):
    best = {each.name: each.arch for each in results.networks}["best of the front"]
    assert results.score.name == "top1"
    assert best == max(front.entries, key=lambda entry: entry.metrics["top1"]).arch


def test_a_budget_of_a_report_goes_by_the_metrics_own_direction(tmp_path):
    run_search(
        space=runs.digits_space(),
        evaluate=lambda arch: runs.made_up_top1(arch, runs.digits_space()),
        objectives=["cross_entropy", "macs"],
        budget="top1=0.5, macs=80%",
        trials=12,
        folder=tmp_path / "search" / "main",
    )
    (budget,) = [
        text for name, text in summarise_run(read_run(tmp_path, "main")) if name == "budget"
    ]
    assert "top1 at least 0.5" in budget
    assert re.search(r"macs at most .* \(80% of the full network", budget)


def test_without_a_measured_objective_a_report_calls_none_the_best(tmp_path):
    run_search(
        space=runs.digits_space(),
        evaluate=lambda arch: {},
        objectives=["macs", "params"],
        trials=12,
        folder=tmp_path / "search" / "main",
    )
    page = make_report(tmp_path, "main", Console(file=io.StringIO())).read_text()
    assert "middle of the front" in page
    assert "best of the front" not in page


@pytest.mark.parametrize("direction", ["min", "max"])
def test_a_limit_on_a_cost_is_at_most_that_also_where_the_cost_is_made_large(direction):
    own = Objective("own", direction, own_cost)
    front = run_search(
        space=SPACE,
        evaluate=Evaluate(SPACE),
        objectives=["top1", f"macs={direction}", own],
        budget="macs=80%",
        trials=40,
    )
    assert front.direction("macs") == front.direction("own") == "min"
    most = 0.8 * front.full["macs"]
    assert all(entry.metrics["macs"] <= most for entry in front.entries)
    assert front.best(macs="80%") == front.best()
    least = min(entry.metrics["own"] for entry in front.entries)
    assert front.best(own=least).metrics["own"] == least
    assert front.best(own=least - 0.1) is None


@pytest.mark.parametrize("ended", [True, False])
def test_a_report_knows_the_functions_and_directions_of_a_search(tmp_path, ended):
    space, folder = runs.digits_space(), tmp_path / "search" / "main"

    def evaluate(arch):
        metrics = runs.made_up_top1(arch, space)
        return metrics | {"f1": metrics["top1"], "ece": 1 - metrics["top1"]}

    def search(trials, directions):
        return run_search(
            space=space,
            evaluate=evaluate,
            objectives=[Objective("own", "min", own_cost), "top1"],
            budget="f1=0.3, ece=0.9, macs=80%",
            trials=trials,
            directions=directions,
            folder=folder,
            origin="made up",
        )

    front = search(20, {"f1": "max", "ece": "min", "top1": "max"})
    with pytest.raises(InputError, match=r"directions\.f1 was 'max' .* and is 'min'"):
        search(25, {"f1": "min", "ece": "min", "top1": "max"})
    # Of what no limit is on, nothing depends on the direction.
    again = search(20, {"f1": "max", "ece": "min", "top1": "max", "f2": "min"})
    assert again.entries == front.entries
    if not ended:
        (folder / "front.yaml").unlink()
    results = read_run(tmp_path, "main")
    check_ranked_by_top1(results, front)
    (budget,) = [text for name, text in summarise_run(results) if name == "budget"]
    assert "f1 at least 0.3" in budget
    assert "ece at most 0.9" in budget
    # A folder of an earlier version says less of its search, and can be gone on with all the same.
    path = folder / "search.yaml"
    values = read_yaml(path).data
    write_yaml(path, {k: v for k, v in values.items() if k not in ("functions", "directions")})
    make_report(tmp_path, "main", Console(file=io.StringIO()))
    assert search(25, {"f1": "max", "ece": "min", "top1": "max"}).evaluations == 25
    assert read_yaml(path).data == values


def test_another_direction_or_a_function_in_the_place_of_a_metric_is_refused(tmp_path):
    def search(trials, own="own=min", **given):
        return run_search(
            space=SPACE,
            evaluate=lambda arch: Evaluate(SPACE)(arch) | {"own": 1.0},
            objectives=["latency_ms=min", own],
            budget="top1=0.5",
            trials=trials,
            folder=tmp_path,
            origin="toy",
            **given,
        )

    search(10)
    before = (tmp_path / "search.yaml").read_text()
    with pytest.raises(InputError, match=r"directions\.top1 was 'max' .* and is 'min'"):
        search(12, directions={"top1": "min"})
    with pytest.raises(InputError, match=r"functions was \[\] .* and is \['own'\]"):
        search(12, own=Objective("own", "min", own_cost))
    assert (tmp_path / "search.yaml").read_text() == before
    assert search(12).evaluations == 12
