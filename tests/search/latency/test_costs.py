"""Latency in budgets and objectives: counted, drawn and searched as MACs are."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
from latency_toys import table_of
from search_toys import Evaluate, all_archs, small_space, toy_space

from search import Front, run_search
from search.latency.costs import make_problem
from search.problem.feasible import FeasibleArchs
from search.problem.objectives import Objective
from search.study.options import SearchOptions
from search.study.warm_start import initial_archs
from space import InputError
from space.cost import total
from space.counting.bands import Bands
from supernet.tasks.registry import directions


def problem(budget, objectives=("top1", "macs"), tables=None, space=None):
    space = space or toy_space()
    tables = [table_of(space)] if tables is None else tables
    return make_problem(space, objectives, budget, directions(), tables)


def test_a_budget_in_milliseconds_is_counted_and_drawn_exactly():
    space = toy_space()
    archs = all_archs(space)
    table = table_of(space)
    (limit,) = problem("latency_ms=60%").budget.limits
    assert limit.most == pytest.approx(0.6 * table.full_ms, rel=1e-6)
    for arch in archs:
        assert limit.cost(arch) == pytest.approx(table.predict(arch), rel=1e-6)
    bands = Bands(space.graph, limit.additive)
    inside = [arch for arch in archs if limit.cost(arch) <= limit.most]
    assert 0 < len(inside) < len(archs)
    assert bands.count(0, limit.ceiling).value == len(inside)
    assert bands.low / limit.units == pytest.approx(min(map(table.predict, archs)), rel=1e-6)
    feasible, seen = FeasibleArchs(space, problem("latency_ms=60%").budget), set()
    rng = np.random.default_rng(0)
    while (arch := feasible.draw(rng, seen)) is not None:
        seen.add(space.identity(arch))
    assert seen == {space.identity(arch) for arch in inside}


def test_several_devices_have_budgets_of_their_own():
    space = toy_space()
    tables = [table_of(space, "phone"), table_of(space, "server")]
    limits = problem("latency_ms@phone=60%, latency_ms@server=80%", tables=tables).budget.limits
    assert [limit.name for limit in limits] == ["latency_ms@phone", "latency_ms@server"]
    assert limits[0].most / limits[1].most == pytest.approx(0.75)
    for budget, cost in [
        ("latency_ms=60%", "macs"),
        ("macs=60%", "latency_ms"),
        ("macs=60%", "latency_ms=min"),
    ]:
        with pytest.raises(InputError, match="choose one of latency_ms@phone, latency_ms@server"):
            problem(budget, ["top1", cost], tables)
    # A single one answers to both names.
    (limit,) = problem("latency_ms@toy=60%").budget.limits
    assert limit.name == "latency_ms@toy"


@pytest.mark.parametrize("seed", range(30))
def test_every_arch_is_inside_its_own_latency(seed):
    space, rng = toy_space(), np.random.default_rng(seed)
    terms = {term: ms * rng.uniform(0.5, 2) for term, ms in table_of(space).terms.items()}
    table = replace(table_of(space), terms=terms)
    (whole,) = problem("latency_ms=100%", tables=[table]).budget.limits
    assert whole.allows(space.largest())
    for arch in all_archs(space)[seed::30]:
        (limit,) = problem({"latency_ms": whole.cost(arch)}, tables=[table]).budget.limits
        assert limit.allows(arch)
        assert total(arch, space.shape, limit.additive) <= limit.ceiling
        (less,) = problem({"latency_ms": whole.cost(arch) - 2e-6}, tables=[table]).budget.limits
        assert not less.allows(arch)
        assert total(arch, space.shape, less.additive) > less.ceiling


def test_an_objective_of_ones_own_making_is_predicted_too():
    space = toy_space()
    found = problem(None, ["top1", Objective("latency_ms", "min")])
    arch = space.smallest()
    assert found.costs(arch)["latency_ms"] == pytest.approx(table_of(space).predict(arch), rel=1e-4)
    assert found.latencies.keys() == {"latency_ms"}


def test_what_no_arch_keeps_is_told_with_the_range():
    with pytest.raises(InputError, match=r"budget latency_ms=0.1: no arch is that cheap; .* to"):
        FeasibleArchs(toy_space(), problem("latency_ms=0.1").budget).check(np.random.default_rng(0))


def test_a_table_of_another_backbone_is_refused():
    with pytest.raises(InputError, match="latency table toy: of another backbone: depth"):
        problem("latency_ms=60%", tables=[table_of(small_space())])


@pytest.mark.parametrize("sampler", ["NSGAIISampler", "EvolutionSampler"])
def test_a_search_within_milliseconds(tmp_path, sampler):
    space, evaluate = toy_space(), Evaluate(toy_space())
    path = tmp_path / "toy.yaml"
    table = table_of(space)
    table.save(path)

    def accuracy(arch):
        return {"top1": evaluate(arch)["top1"]}

    given = {
        "space": space,
        "evaluate": accuracy,
        "origin": "toy",
        "objectives": ["top1", "latency_ms"],
        "budget": "latency_ms=50%",
        "sampler": sampler,
        "folder": tmp_path / "search",
    }
    front = run_search(**given, trials=25, options=SearchOptions(latency=[path]))
    assert len(evaluate.seen) == len(set(evaluate.seen)) == 25
    assert front.full["latency_ms"] == pytest.approx(table.full_ms, rel=1e-6)
    for entry in front.entries:
        assert entry.metrics["latency_ms"] == pytest.approx(table.predict(entry.arch), rel=1e-6)
        assert entry.values[1] == entry.metrics["latency_ms"] <= table.full_ms / 2
    assert Front.load(tmp_path / "search" / "front.yaml").best(latency_ms="50%") is not None
    # The same search goes on; one by another table is another search.
    run_search(**given, trials=30, options=SearchOptions(latency=[table]))
    assert len(evaluate.seen) == 30
    given["budget"] = f"latency_ms={table.full_ms / 2}"
    for factor in (1, 1.01):
        slower = {term: factor * ms for term, ms in table.terms.items()}
        other = type(table)(**{**vars(table), "terms": slower})
        given["folder"] = tmp_path / "by milliseconds"
        if factor == 1:
            run_search(**given, trials=3, options=SearchOptions(latency=[other]))
            continue
        with pytest.raises(InputError, match=r"latency\.latency_ms was .* in the results"):
            run_search(**given, trials=4, options=SearchOptions(latency=[other]))


def test_a_search_starts_from_a_ladder_within_milliseconds():
    whole = initial_archs(problem(None), seed=0)
    tight = problem("latency_ms=50%")
    within = initial_archs(tight, seed=0)
    assert all(map(tight.budget.inside, within))
    # A ladder over all MACs would leave only its lower rungs inside.
    assert len(within) > sum(map(tight.budget.inside, whole)) > 0


def test_a_problem_travels_to_other_processes():
    space = toy_space()
    here = problem("latency_ms=60%", ["top1", "latency_ms"])
    there = pickle.loads(pickle.dumps(here))
    for arch in all_archs(space)[::7]:
        assert there.costs(arch) == here.costs(arch)
        assert there.budget.inside(arch) == here.budget.inside(arch)
    assert there.table_digests == here.table_digests
    assert there.table_digests.keys() == {"latency_ms"}


def test_a_metric_of_ones_own_stays_one_without_a_table():
    found = make_problem(toy_space(), ["top1", "latency_ms=min"], "latency_ms=3", directions(), ())
    assert found.required_metrics == ("top1", "latency_ms")
    assert [each.name for each in found.budget.constraints] == ["latency_ms"]
