"""What a search promises of its evaluations, whatever proposes."""

import itertools
import random

import pytest
from search_toys import (
    SAMPLERS,
    Evaluate,
    all_archs,
    drive,
    middle_space,
    problem_of,
    small_space,
    study_of,
    toy_space,
)
from space_toys import seeded_spaces

from search.evaluators.base import evaluate_safely
from search.run import run_search
from search.study import samplers
from search.study.study import MAX_AFTER_DRAW, Study
from space import BlockArch, Genes, InputError, macs
from space.baselines import baselines

SPACES = seeded_spaces(24, least=4, most=4000)


def name_of(sampler):
    return sampler if isinstance(sampler, str) else f"{sampler['name']}*"


# Each proposal of the GP takes a second.
CASES = [
    pytest.param(sampler, case, id=f"{name_of(sampler)}-{case}")
    for sampler in SAMPLERS
    for case in range(2 if name_of(sampler).startswith("GP") else 6)
]


def check_promises(study, evaluate, jobs):
    """No arch over budget, none twice, and every evaluation recorded as it was."""
    space, budget = study.problem.space, study.problem.budget
    assert len(evaluate.seen) == len(set(evaluate.seen)) == len(jobs) == len(study.records)
    for job, record in zip(jobs, study.records, strict=True):
        assert budget.inside(job.arch)
        assert space.canonical(job.arch) == job.arch
        assert job.arch in space
        assert Genes(space).decode(job.genes) == job.arch
        assert (record.arch, record.identity) == (job.arch, space.identity(job.arch))
        assert record.metrics["macs"] == macs(job.arch, space.shape)
        assert record.values == (evaluate(job.arch)["top1"], macs(job.arch, space.shape))


@pytest.mark.parametrize(("sampler", "case"), CASES)
def test_no_evaluation_is_spent_over_budget_or_twice(sampler, case):
    gp = name_of(sampler).startswith("GP")
    space = SPACES[case * 4 + len(name_of(sampler)) % 4]
    rng = random.Random(case)
    costs = sorted(macs(arch, space.shape) for arch in rng.choices(all_archs(space), k=9))
    budget = None if case == 0 or costs[4] == 0 else {"macs": costs[4]}
    study = study_of(space, 10 if gp else 40, sampler, budget, seed=case)
    evaluate = Evaluate(space)
    jobs = drive(study, evaluate)
    seen = list(evaluate.seen)
    inside = sum(map(study.problem.budget.inside, all_archs(space)))
    assert len(jobs) == min(study.trials, inside)
    check_promises(study, _Replay(evaluate, seen), jobs)


class _Replay:
    """Evaluates again without remembering that."""

    def __init__(self, evaluate, seen):
        self.evaluate, self.seen = evaluate, seen

    def __call__(self, arch):
        return self.evaluate(arch)


@pytest.mark.parametrize("sampler", SAMPLERS, ids=name_of)
def test_the_same_seed_evaluates_the_same_archs(sampler):
    trials = 10 if name_of(sampler).startswith("GP") else 35
    seen = []
    for seed in (3, 3, 4):
        evaluate = Evaluate(toy_space())
        drive(study_of(toy_space(), trials, sampler, "macs=60%", seed), evaluate)
        seen.append(evaluate.seen)
    assert seen[0] == seen[1]
    assert seen[0] != seen[2]


@pytest.mark.parametrize("sampler", ["NSGAIISampler", "RandomSampler", "TPESampler"])
@pytest.mark.parametrize("budget", [None, "macs=50%", "macs=70%, tokens=60%, params=99%"])
def test_a_small_space_is_evaluated_whole_and_the_search_says_so(sampler, budget):
    space = middle_space()
    study, evaluate = study_of(space, 10_000, sampler, budget), Evaluate(space)
    drive(study, evaluate)
    inside = [space.identity(a) for a in all_archs(space) if study.problem.budget.inside(a)]
    assert sorted(evaluate.seen) == sorted(inside)
    assert len(inside) >= 10
    where = " inside the budget" if budget else ""
    assert study.ended == f"every arch{where} has been evaluated"
    assert study.take_job() is None


def test_a_space_of_one_arch():
    space = SPACES[0]
    one = type(space)(space.shape)
    study, evaluate = study_of(one, 5), Evaluate(one)
    assert [job.arch for job in drive(study, evaluate)] == [one.largest()]
    assert study.ended == "every arch has been evaluated"


def test_an_impossible_budget_is_told_before_anything_is_evaluated():
    with pytest.raises(InputError, match="no arch is that cheap; the space reaches from macs="):
        study_of(toy_space(), 5, budget="macs=1M")


def test_proposals_are_counted_by_what_became_of_them():
    study = study_of(toy_space(), 100, budget="macs=40%")
    drive(study, Evaluate(toy_space()))
    asked = [trial for trial in study._proposals._study.trials if trial.state.is_finished()]
    assert study.counts.refused > 0
    assert study.counts.repeated > 0
    # None of the usual initial archs is over budget: they were made for it.
    assert len(asked) == 100 + study.counts.refused + study.counts.repeated


def test_a_study_that_is_crowded_is_rebuilt_and_goes_on(monkeypatch):
    monkeypatch.setattr("search.study.proposals.MIN_SKIPPED", 20)
    space = toy_space()
    study, evaluate = study_of(space, 150, "RandomSampler", "macs=40%"), Evaluate(space)
    open_job = study.take_job()
    drive(study, evaluate, most=148)
    assert study._proposals._skipped <= max(20, len(study.records)) + 1
    assert study.counts.refused > 200
    study.finish(open_job, evaluate_safely(evaluate, open_job.arch))
    assert len(set(evaluate.seen)) == len(evaluate.seen) == len(study.records) == 149


def test_a_search_that_learns_starts_from_a_ladder_and_from_hand_made_archs():
    space = toy_space()
    budget = {"macs": 0.6 * macs(space.largest(), space.shape)}
    study = study_of(space, 60, budget=budget)
    first = [job.arch for job in drive(study, Evaluate(space)) if job.source == "initial"]
    made = {each.arch for each in baselines(space, budget["macs"]) if each.arch}
    assert made <= set(first)
    assert space.smallest() in first
    assert len(first) == len(set(first)) >= 10
    costs = sorted(macs(arch, space.shape) for arch in first)
    low, high = macs(space.smallest(), space.shape), budget["macs"]
    gaps = [b - a for a, b in itertools.pairwise(costs)]
    assert max(gaps) < 0.25 * (high - low)
    full = [job.arch for job in drive(study_of(space, 5), Evaluate(space))]
    assert space.largest() in full, "inside the budget where there is none"


@pytest.mark.parametrize("sampler", ["RandomSampler", "QMCSampler"])
def test_what_learns_nothing_starts_at_random(sampler):
    jobs = drive(study_of(toy_space(), 20, sampler), Evaluate(toy_space()))
    assert {job.source for job in jobs} == {"sampler"}


def test_named_archs_come_first_and_those_over_budget_are_refused():
    space = toy_space()
    some = all_archs(space)[5:8]
    study = study_of(space, 6, initial=[*some, some[0]])
    jobs = drive(study, Evaluate(space))
    assert [job.arch for job in jobs[:3]] == some
    assert [job.source for job in jobs].count("initial") == 3
    study = study_of(space, 6, budget="macs=50%", initial=[space.largest()])
    assert "initial" not in [job.source for job in drive(study, Evaluate(space))]
    assert study.counts.refused >= 1


def test_an_initial_arch_outside_the_space_is_refused():
    space = small_space()
    pooled = type(space.largest())((BlockArch(attention="own"), *space.largest().blocks[:1]))
    with pytest.raises(InputError, match="not in the space"):
        study_of(space, 6, initial=[pooled])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"initial": ["x"]}, r"^initial\[0\]: must be an Arch, got 'x'$"),
        ({"initial": [None]}, r"^initial\[0\]: must be an Arch, got None$"),
        ({"initial": "x"}, r"^initial\[0\]: must be an Arch, got 'x'$"),
        ({"initial": small_space().largest()}, r"^initial: must be a list of archs, got Arch"),
        ({"seed": -1}, r"^seed: must be an integer of 0 to 2\^64 - 1, got -1$"),
        ({"seed": 1 << 64}, r"^seed: must be .*, got 18446744073709551616$"),
        ({"seed": 1.5}, r"^seed: must be .*, got 1.5$"),
    ],
)
def test_what_no_search_can_start_from_is_refused(values, message):
    space = small_space()
    with pytest.raises(InputError, match=message):
        run_search(space=space, evaluate=Evaluate(space), **values)


def test_what_another_search_measured_is_not_evaluated_again():
    space = toy_space()
    before = study_of(space, 50, seed=1)
    drive(before, Evaluate(space))
    known = {record.identity: dict(record.metrics) for record in before.records}
    study, evaluate = study_of(space, 50, seed=1, reusable=known), Evaluate(space)
    drive(study, evaluate)
    assert evaluate.seen == []
    assert [record.values for record in study.records] == [r.values for r in before.records]
    assert all(record.reused for record in study.records)
    assert study.counts.reused == 50
    other = study_of(space, 50, seed=2, reusable=known)
    drive(other, evaluate)
    assert 0 < other.counts.reused < 50
    assert not set(evaluate.seen) & set(known)
    assert len(evaluate.seen) + other.counts.reused == 50


def test_metrics_that_are_not_enough_are_not_taken_over():
    space = toy_space()
    known = {space.identity(arch): {"top5": 0.9} for arch in all_archs(space)}
    study, evaluate = study_of(space, 10, reusable=known), Evaluate(space)
    drive(study, evaluate)
    assert len(evaluate.seen) == 10


def test_asking_in_vain_has_an_end(monkeypatch):
    """A sampler that proposes one arch for ever costs 100 asks once, then 10 an evaluation."""
    space = toy_space()
    study, evaluate = study_of(space, 10, initial=[]), Evaluate(space)
    same = Genes(space).encode(space.largest())
    asked = []

    def ask(genes=None, proposals=study._proposals):
        asked.append(genes)
        return type(proposals).ask(proposals, genes or same)

    monkeypatch.setattr(study._proposals, "ask", ask)
    jobs = drive(study, evaluate)
    assert [job.source for job in jobs] == ["sampler"] + ["uniform"] * 9
    vain = 100 + 8 * MAX_AFTER_DRAW
    assert asked.count(None) == 1 + vain
    assert (study.counts.drawn, study.counts.repeated) == (9, vain)


def test_a_sampler_of_little_patience_has_no_more_after_a_draw(monkeypatch):
    space = toy_space()
    study = study_of(space, 4, "EvolutionSampler", initial=[])
    same = Genes(space).encode(space.largest())

    def ask(genes=None, proposals=study._proposals):
        return type(proposals).ask(proposals, genes or same)

    monkeypatch.setattr(study._proposals, "ask", ask)
    jobs = drive(study, Evaluate(space))
    assert [job.source for job in jobs] == ["sampler"] + ["uniform"] * 3
    assert study.counts.repeated == 3 * samplers.SAMPLERS["EvolutionSampler"].patience


def test_a_sampler_that_proposes_something_new_has_its_credit_back(monkeypatch):
    space = toy_space()
    study, evaluate = study_of(space, 8, initial=[]), Evaluate(space)
    same, new = (Genes(space).encode(all_archs(space)[i]) for i in (0, 5))
    asks = iter([same] * (1 + 100) + [new] + [same] * 1000)

    def ask(genes=None, proposals=study._proposals):
        return type(proposals).ask(proposals, genes or next(asks))

    monkeypatch.setattr(study._proposals, "ask", ask)
    sources = [job.source for job in drive(study, evaluate, most=5)]
    assert sources == ["sampler", "uniform", "sampler", "uniform", "uniform"]
    assert study.counts.repeated == 2 * 100 + MAX_AFTER_DRAW


def test_a_problem_names_what_must_be_measured():
    problem = problem_of(toy_space(), ["top1", "macs", "kl"], "latency_ms=3, macs=50%, kl=1")
    assert problem.required_metrics == ("top1", "kl", "latency_ms")
    assert isinstance(study_of(toy_space(), 1), Study)
