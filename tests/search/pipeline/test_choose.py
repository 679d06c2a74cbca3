"""Which networks are retrained."""

from collections import Counter
from dataclasses import replace

import pytest
from latency_toys import table_of
from search_toys import Evaluate, all_archs, problem_of, toy_space
from space_toys import deviation

from search.pipeline.choose import (
    Purpose,
    check_names,
    choose,
    load_choices,
    stage_path,
    to_folder_name,
)
from search.pipeline.config import Config, RetrainConfig
from search.pipeline.search import draw_distinct
from search.problem.feasible import FeasibleArchs
from search.run import run_search
from search.study.options import SearchOptions
from space import InputError, save_arch


def saved(path, arch, space):
    path.parent.mkdir(exist_ok=True)
    save_arch(arch, path, shape=space.shape)
    return str(path)


def test_arch_files_are_called_as_they_are(tmp_path):
    space = toy_space()
    archs = {"one": space.largest(), "two": space.smallest()}
    paths = [saved(tmp_path / f"{name}.yaml", arch, space) for name, arch in archs.items()]
    assert {choice.name: choice.arch for choice in load_choices(paths, space)} == archs


@pytest.mark.parametrize("names", [("best", "best"), ("60%", "60"), ("a b", "a_b")])
def test_networks_that_would_share_a_folder_are_refused(names):
    check_names(("one", "two"))
    folder = to_folder_name(names[0])
    with pytest.raises(InputError, match=f"two networks would share the folder {folder}; rename"):
        check_names(names)


def test_an_arch_outside_the_space_is_refused_by_its_file(tmp_path):
    space = toy_space()
    values = space.to_dict()
    values["skip"]["ratios"] = [0.25]
    other = type(space).from_dict(values, space.shape)
    path = saved(tmp_path / "other.yaml", other.smallest(), space)
    with pytest.raises(InputError, match=r"other\.yaml: not in the space of this run"):
        load_choices([path], space)


def test_budgets_in_milliseconds_go_by_measurements_where_there_are_any():
    space, evaluate = toy_space(), Evaluate(toy_space())
    table = table_of(space)
    front = run_search(
        space=space,
        evaluate=lambda arch: {"top1": evaluate(arch)["top1"]},
        objectives=["top1", "latency_ms"],
        trials=40,
        options=SearchOptions(latency=[table]),
    )
    assert len(front) > 3
    budget = f"latency_ms={front.entries[1].metrics['latency_ms']}"
    config = Config(retrain=RetrainConfig(budgets=[budget, "latency_ms=60%"], full=False))
    first, second = choose(config, front, space, lambda line: None, None)
    assert first.arch == front.entries[1].arch
    assert second.arch == front.best(latency_ms=0.6 * table.full_ms).arch
    assert stage_path(config, second.name) == "retrain/main/latency_ms_60"
    # Each was measured to take a little longer than predicted.
    slower = tuple(
        replace(e, metrics={**e.metrics, "measured_latency_ms": 1.001 * e.metrics["latency_ms"]})
        for e in front.entries
    )
    (chosen, _) = choose(config, replace(front, entries=slower), space, lambda line: None, None)
    assert chosen.arch == front.entries[2].arch
    # Where all are over by measurement the best by prediction is taken.
    slowest = tuple(
        replace(e, metrics={**e.metrics, "measured_latency_ms": 99.0}) for e in front.entries
    )
    said = []
    (chosen, _) = choose(config, replace(front, entries=slowest), space, said.append, None)
    assert chosen.arch == first.arch
    empty = Config(retrain=RetrainConfig(budgets=["50%"], full=False))
    with pytest.raises(InputError, match="the front has no subnet within 50%"):
        list(choose(empty, replace(front, entries=()), space, said.append, None))
    wrong = Config(retrain=RetrainConfig(budgets=["latency_ms@phone=3"], full=False))
    with pytest.raises(InputError, match="'latency_ms@phone' is no cost of this front"):
        list(choose(wrong, front, space, lambda line: None, None))
    wrong = Config(retrain=RetrainConfig(budgets=["latency_ms=1%"], full=False))
    with pytest.raises(InputError, match=r"no subnet within latency_ms=1%; search longer"):
        list(choose(wrong, front, space, lambda line: None, None))


def test_the_best_is_that_of_the_first_measured_objective():
    space = toy_space()
    front = run_search(
        space=space, evaluate=Evaluate(space), objectives=["macs", "top1"], trials=40
    )
    for share in (0.8, 0.5):
        config = Config(retrain=RetrainConfig(budgets=[f"{share:.0%}"], full=False))
        (choice,) = choose(config, front, space, print, None)
        limit = share * front.full["macs"]
        within = [entry for entry in front.entries if entry.metrics["macs"] <= limit]
        assert choice.arch == max(within, key=lambda entry: entry.metrics["top1"]).arch
    front = run_search(
        space=space, evaluate=Evaluate(space), objectives=["macs", "params"], trials=10
    )
    with pytest.raises(InputError, match=r"no objective of its search \(macs, params\) is measur"):
        list(choose(config, front, space, print, None))


def test_budgets_with_the_same_best_are_told_and_retrained_once(tmp_path):
    space, said = toy_space(), []
    front = run_search(space=space, evaluate=Evaluate(space), trials=20)
    least = min(entry.metrics["macs"] for entry in front.entries)
    budgets = [f"{least + more:.0f}" for more in (1, 2)]
    for full in (True, False):
        config = Config(retrain=RetrainConfig(budgets=[*budgets, "100%"], full=full))
        chosen = list(choose(config, front, space, said.append, None))
        assert len({choice.arch for choice in chosen}) == len(chosen)
        assert f"{budgets[1]} is the same arch as {budgets[0]}: retrained once" in said
        assert (chosen[0].name == "full") == full
    with pytest.raises(InputError, match="no subnet within 1; search longer, or with a bud"):
        list(choose(Config(retrain=RetrainConfig(budgets=["1"])), front, space, said.append, None))


def test_the_best_of_random_archs_stands_beside_the_best_of_the_search():
    space, said = toy_space(), []
    front = run_search(space=space, evaluate=Evaluate(space), trials=20)
    config = Config(retrain=RetrainConfig(budgets=["95%", "45%"], full=False, random=True))
    drawn = {"95%": space.smallest(), "45%": front.best(macs=0.45 * front.full["macs"]).arch}
    chosen = list(choose(config, front, space, said.append, drawn.__getitem__))
    assert [choice.name for choice in chosen] == ["95%", "random 95%", "45%"]
    assert chosen[1].arch == space.smallest()
    assert stage_path(config, chosen[1].name) == "retrain/main/random_95"
    assert said == ["random 45% is the same arch as 45%: retrained once"]


def test_random_archs_are_distinct_and_uniform_inside_the_budget():
    space = toy_space()
    budget = problem_of(space, budget="macs=60%").budget
    inside = {arch for arch in all_archs(space) if budget.inside(arch)}
    feasible = FeasibleArchs(space, budget)
    seen = Counter(arch for seed in range(300) for arch in draw_distinct(feasible, 20, seed))
    assert set(seen) <= inside
    assert sum(seen.values()) == 6000
    assert deviation([seen[arch] for arch in inside], [6000 / len(inside)] * len(inside)) < 5
    assert draw_distinct(feasible, 5, 1) == draw_distinct(feasible, 9, 1)[:5]
    assert set(draw_distinct(feasible, 10_000, 1)) == inside


@pytest.mark.parametrize(
    ("name", "purpose"),
    [
        ("full", Purpose("full")),
        ("50%", Purpose("best", "50%")),
        ("latency_ms@cpu=60%", Purpose("best", "latency_ms@cpu=60%")),
        ("random macs=0.8G", Purpose("random", "macs=0.8G")),
        ("baseline two poolings 35%", Purpose("baseline", "35%", "two poolings")),
        ("baseline early", Purpose("baseline", "", "early")),
        ("mine", Purpose("file", label="mine")),
    ],
)
def test_a_name_says_what_a_network_was_retrained_as(name, purpose):
    assert Purpose.parse(name) == purpose
    assert str(purpose) == name
