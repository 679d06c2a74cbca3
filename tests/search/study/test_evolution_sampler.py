"""The own sampler: what it breeds from, where it aims, and that it gets somewhere."""

from statistics import mean

import numpy as np
import optuna
import pytest
from search_toys import Evaluate, drive, noise, problem_of, study_of, toy_space
from space_toys import deit_small

from search.study.evolution_sampler import WIDTH, EvolutionSampler, _Candidate, _rank
from search.study.proposals import Proposals
from search.study.samplers import SamplerChoice
from space import Genes, SearchSpace, macs


def wide_space():
    """Some millions of archs."""
    values = {
        "pool": {"kinds": ["avg2d", "max2d"], "grids": [10, 7], "max_pools": 2},
        "share": {"max_run": 2},
        "skip": {"ratios": [0.25, 0.5], "selectors": ["map", "cls"]},
    }
    return SearchSpace.from_dict(values, deit_small(8))


WIDE = wide_space()
FULL = macs(WIDE.largest(), WIDE.shape)


def planted(arch):
    """Each block and what it does is worth a little, the same for every arch."""
    return sum(noise(f"{i} {block}") for i, block in enumerate(arch.blocks)) / WIDE.shape.depth


def shares(jobs):
    return [macs(job.arch, WIDE.shape) / FULL for job in jobs]


def evaluate_planted(arch):
    return {"top1": planted(arch)}


def test_evaluations_are_spread_evenly_over_the_macs():
    jobs = drive(study_of(WIDE, 220, "EvolutionSampler", "macs=70%"), evaluate_planted)
    bred = [share for job, share in zip(jobs, shares(jobs), strict=True) if job.source == "sampler"]
    low = macs(WIDE.smallest(), WIDE.shape) / FULL
    counts, _ = np.histogram(bred, bins=10, range=(low, 0.7))
    assert counts.sum() == len(bred) > 180
    assert counts.min() >= 0.5 * len(bred) / 10


def test_it_finds_better_archs_than_random_draws_and_nsga2_within_each_budget():
    """On values that the genes explain, mean over budgets and seeds."""

    def found(sampler, seed):
        study = study_of(WIDE, 120, sampler, "macs=70%", seed)
        drive(study, evaluate_planted)
        archs = [(record.metrics["macs"] / FULL, record.values[0]) for record in study.records]
        budgets = np.arange(0.4, 0.71, 0.05)
        return mean(max(top1 for cost, top1 in archs if cost <= most) for most in budgets)

    ours, nsga2, random = (
        mean(found(name, seed) for seed in range(4))
        for name in ("EvolutionSampler", "NSGAIISampler", "RandomSampler")
    )
    assert ours > nsga2 > random


def test_a_child_is_new_inside_the_budget_and_near_its_aim():
    problem = problem_of(WIDE, budget="macs=70%")
    study = study_of(WIDE, 60, "EvolutionSampler", "macs=70%")
    drive(study, evaluate_planted)
    sampler = study._proposals._study.sampler
    sampler._read(study._proposals._study)
    genes, seen = Genes(WIDE), {record.identity for record in study.records}
    candidates = list(sampler._candidates.values())
    assert {WIDE.identity(genes.decode(each.genes)) for each in candidates} == seen
    for aim in np.linspace(0.3, 0.68, 40) * FULL:
        parents = sorted(candidates, key=lambda each: abs(each.macs - aim))[:20]
        arch = genes.decode(sampler._breed(parents, aim))
        assert WIDE.identity(arch) not in seen
        assert problem.budget.inside(arch)
        assert abs(macs(arch, WIDE.shape) - aim) <= WIDTH * FULL


def candidate(losses, excess=0.0):
    return _Candidate({}, 0, tuple(losses), excess)


@pytest.mark.parametrize("objectives", [1, 2, 3])
def test_parents_are_ranked_by_how_many_dominate_them(objectives):
    rng = np.random.default_rng(objectives)
    for _ in range(50):
        values = rng.integers(0, 4, size=(20, objectives)).astype(float)
        excess = rng.choice([0.0, 0.0, 0.3, 2.0], size=20)
        given = [candidate(*pair) for pair in zip(values, excess, strict=True)]

        def beaten(one, given=given):
            pairs = [(other.losses, one.losses) for other in given]
            return sum(a != b and all(x <= y for x, y in zip(a, b, strict=True)) for a, b in pairs)

        keys = [(each.excess, beaten(each)) for each in _rank(given)]
        assert keys == sorted(keys)


def test_what_failed_or_runs_is_no_parent_and_is_not_proposed_again():
    proposals = Proposals(problem_of(WIDE), SamplerChoice("EvolutionSampler"), 0)
    genes, rng = Genes(WIDE), np.random.default_rng(0)
    given = [WIDE.sample(rng) for _ in range(30)]
    for i, arch in enumerate(given):
        trial = proposals.ask(genes.encode(arch))
        if i % 3 < 2:
            proposals.finish(trial, None if i % 3 else [planted(arch), 1.0])
    proposals.ask()
    sampler = proposals._study.sampler
    assert set(sampler._candidates) == {WIDE.identity(arch) for arch in given[::3]}
    assert sampler._tried == {WIDE.identity(arch) for arch in given}


@pytest.mark.parametrize(
    ("objectives", "losses"),
    [
        (["macs"], 1),
        (["top1"], 1),
        (["macs", "top1"], 1),
        (["top1", "macs", "tokens"], 2),
        (["top1", "backbone_macs"], 1),
    ],
)
def test_macs_are_no_loss_where_anything_else_is(objectives, losses):
    study = study_of(toy_space(), 40, "EvolutionSampler", objectives=objectives)
    drive(study, Evaluate(toy_space()))
    candidates = study._proposals._study.sampler._candidates.values()
    assert len(study.records) == 40
    assert {len(each.losses) for each in candidates} == {losses}


def test_macs_without_the_head_breed_the_same_archs():
    def proposed(objective):
        study = study_of(WIDE, 60, "EvolutionSampler", objectives=["top1", objective])
        return [job.identity for job in drive(study, evaluate_planted)]

    assert proposed("macs") == proposed("backbone_macs")


def test_a_mutation_changes_a_gene_to_another_of_its_values():
    sampler = EvolutionSampler(problem_of(WIDE), 0)
    categories, changed = Genes(WIDE).categories, set()
    genes = {gene: values[0] for gene, values in categories.items()}
    for _ in range(500):
        before = dict(genes)
        sampler._mutate(genes)
        assert all(value in categories[gene] for gene, value in genes.items())
        now = {gene for gene in genes if genes[gene] != before[gene]}
        assert now
        changed |= now
    assert changed == set(categories)


def test_crossover_takes_whole_blocks_from_the_other():
    sampler = EvolutionSampler(problem_of(WIDE), 0)
    categories = Genes(WIDE).categories
    one = {gene: values[0] for gene, values in categories.items()}
    other = {gene: values[1] for gene, values in categories.items()}
    for _ in range(100):
        child = dict(one)
        sampler._cross(child, other)
        taken = {int(gene.split(".")[1]) for gene in child if child[gene] == other[gene]}
        kept = {int(gene.split(".")[1]) for gene in child if child[gene] == one[gene]}
        assert not taken & kept
        assert sorted(taken) == list(range(min(taken), max(taken) + 1))


def test_it_serves_an_optuna_study_of_ones_own():
    problem, genes = problem_of(WIDE), Genes(WIDE)
    study = optuna.create_study(
        directions=["maximize", "minimize"], sampler=EvolutionSampler(problem, 0)
    )

    def objective(trial):
        values = {
            gene: trial.suggest_categorical(gene, choices)
            for gene, choices in genes.categories.items()
        }
        arch = genes.decode(values)
        return planted(arch), macs(arch, WIDE.shape)

    study.optimize(objective, n_trials=60)
    archs = [genes.decode(trial.params) for trial in study.trials]
    assert len({WIDE.identity(arch) for arch in archs}) == 60
    assert mean(map(planted, archs[-20:])) > mean(map(planted, archs[:20]))
