import logging
import warnings

import pytest
from optuna.trial import TrialState
from search_toys import problem_of, toy_space

from search.problem.evaluation import Record
from search.study.proposals import MAX_GENETIC_TRIALS, MIN_SKIPPED, Proposals
from search.study.samplers import SAMPLERS, SamplerChoice, silence_optuna
from space import Genes

PROBLEM = problem_of(toy_space())
GENES = Genes(PROBLEM.space).categories


def proposals_of(name="NSGAIISampler", trials=(), **arguments):
    return Proposals(PROBLEM, SamplerChoice(name, arguments), 0, trials)


def tell(proposals, count):
    told = []
    for i in range(count):
        trial = proposals.ask()
        told.append(
            proposals.finish(trial, [i % 7 / 7, float(len(trial.params["pool.2"]) + i % 5)])
        )
    return told


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_gene_gets_one_of_its_values_and_given_genes_are_kept(name):
    proposals = proposals_of(name)
    for i in range(6):
        trial = proposals.ask()
        assert set(trial.params) == set(GENES)
        assert all(value in GENES[gene] for gene, value in trial.params.items())
        proposals.finish(trial, [i / 6, 1.0])
    wanted = {gene: values[-1] for gene, values in GENES.items()}
    assert proposals.ask(wanted).params == wanted


def test_a_finished_trial_is_told_as_it_is():
    proposals = proposals_of()
    frozen = proposals.finish(proposals.ask(), [0.5, 2.0])
    assert (frozen.state, frozen.values) == (TrialState.COMPLETE, [0.5, 2.0])
    failed = proposals.finish(proposals.ask(), None)
    assert failed.state == TrialState.FAIL


def test_a_rebuilt_study_knows_what_was_finished_and_nothing_else():
    proposals = proposals_of("TPESampler")
    told = tell(proposals, 5)
    for _ in range(7):
        proposals.skip(proposals.ask(), None)
    told += tell(proposals, 3)
    proposals.rebuild()
    trials = proposals._study.trials
    assert [(each.params, each.values) for each in trials] == [(t.params, t.values) for t in told]
    tell(proposals, 2)
    proposals.rebuild()
    assert len(proposals._study.trials) == 10


def test_what_is_passed_over_crowds_a_study_until_it_is_rebuilt():
    proposals = proposals_of("RandomSampler")
    record = Record(0, "id", None, {}, (0.5, 1.0), {"latency": 0.2})
    for _ in range(MIN_SKIPPED):
        proposals.skip(proposals.ask(), record)
    assert not proposals.needs_rebuild
    proposals.skip(proposals.ask(), record)
    assert proposals.needs_rebuild
    assert proposals._study.trials[-1].constraints == {"latency": 0.2}
    proposals.rebuild()
    assert not proposals.needs_rebuild
    assert proposals._study.trials == []


def test_a_genetic_sampler_goes_on_from_the_fittest_of_hundreds_of_generations():
    proposals = proposals_of(population_size=8)
    told = tell(proposals, 1300)
    again = proposals_of(population_size=8, trials=told)
    kept = {tuple(trial.values) for trial in again._study.trials}
    best = {tuple(trial.values) for trial in optuna_front(told)}
    assert len(again._study.trials) == 8
    assert kept <= best or best <= kept
    assert again.finish(again.ask(), [0.1, 0.1]).system_attrs["NSGAIISampler:generation"] == 1


def test_a_genetic_sampler_stays_quick_however_much_is_told():
    proposals = proposals_of(population_size=8)
    tell(proposals, MAX_GENETIC_TRIALS)
    assert not proposals.needs_rebuild
    tell(proposals, 1)
    assert proposals.needs_rebuild
    proposals.rebuild()
    assert not proposals.needs_rebuild
    assert len(proposals._study.trials) == 8


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("generation", [0, 1, 40])
def test_a_genetic_sampler_goes_on_from_very_few(count, generation):
    """Most of a generation may have been repetitions, of which nothing is stored."""
    told = tell(proposals_of(), count)
    for trial in told:
        trial.system_attrs = {**trial.system_attrs, "NSGAIISampler:generation": generation}
    again = proposals_of(trials=told)
    tell(again, 50)
    assert len(again._study.trials) == count + 50


def optuna_front(trials):
    """Those that no other beats in both objectives."""
    signs = [-objective.sign for objective in PROBLEM.objectives]
    values = {t.number: [s * v for s, v in zip(signs, t.values, strict=True)] for t in trials}
    return [
        trial
        for trial in trials
        if not any(
            other != values[trial.number]
            and all(a >= b for a, b in zip(other, values[trial.number], strict=True))
            for other in values.values()
        )
    ]


def test_our_own_sampler_learns_from_all_that_is_told():
    proposals = proposals_of("EvolutionSampler")
    sampler = proposals._study.sampler
    sizes = []
    for _ in range(4):
        tell(proposals, 10)
        proposals.ask()
        sizes.append(len(sampler._candidates))
    assert sizes == sorted(set(sizes))


def test_tpe_looks_at_genes_together():
    proposals = proposals_of("TPESampler")
    tell(proposals, 12)
    study, trial = proposals._study, proposals.ask()
    assert set(study.sampler.infer_relative_search_space(study, trial)) == set(GENES)


def test_constraints_survive_a_rebuild():
    proposals = proposals_of()
    trial = proposals.ask()
    trial.set_constraint("latency_ms", 0.5)
    frozen = proposals.finish(trial, [0.5, 2.0])
    assert frozen.constraints == {"latency_ms": 0.5}
    proposals.rebuild()
    assert proposals._study.trials[0].constraints == {"latency_ms": 0.5}


def test_the_same_history_gives_the_same_proposals():
    told = tell(proposals_of(), 30)
    one, two = proposals_of(trials=told), proposals_of(trials=told)
    assert [one.ask().params for _ in range(5)] == [two.ask().params for _ in range(5)]


def test_another_history_gives_others():
    told = tell(proposals_of("RandomSampler"), 30)
    one, two = proposals_of("RandomSampler"), proposals_of("RandomSampler", trials=told)
    assert [one.ask().params for _ in range(5)] != [two.ask().params for _ in range(5)]


def test_nothing_is_said_and_optunas_logger_is_left_as_it_was(monkeypatch):
    said = []
    logger = logging.getLogger("optuna")
    monkeypatch.setattr(logger, "handlers", [handler := logging.Handler()])
    monkeypatch.setattr(handler, "emit", said.append)
    monkeypatch.setattr(logger, "level", logging.INFO)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in SAMPLERS:
            tell(proposals_of(name), 3)
        with pytest.raises(RuntimeError), silence_optuna():
            raise RuntimeError
    assert said == []
    assert logger.level == logging.INFO
