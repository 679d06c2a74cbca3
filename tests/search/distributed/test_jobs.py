"""Several evaluations at once: jobs that are out, and what comes back of them."""

import random

from search_toys import (
    Evaluate,
    all_archs,
    drive,
    small_space,
    study_of,
    toy_space,
)

from search.evaluators.base import evaluate_safely
from search.problem.evaluation import Job, Outcome
from space import Genes


def test_several_jobs_may_be_out_and_come_back_in_any_order():
    space = toy_space()
    rng = random.Random(0)
    study, evaluate = study_of(space, 120, budget="macs=70%"), Evaluate(space)
    out = []
    while True:
        while len(out) < 7 and (job := study.take_job()) is not None:
            out.append(job)
        assert all(map(study.awaits, out))
        if not out:
            break
        job = out.pop(rng.randrange(len(out)))
        record = study.finish(job, evaluate_safely(evaluate, job.arch))
        assert (record.number, record.identity) == (len(study.records) - 1, job.identity)
    assert len(study.records) == len(set(evaluate.seen)) == 120


def test_no_more_jobs_are_out_than_trials_are_left():
    study = study_of(toy_space(), 5)
    out = [study.take_job() for _ in range(5)]
    assert None not in out
    assert study.take_job() is None
    assert study.ended is None
    for job in out:
        study.finish(job, Outcome({"top1": 0.5}))
    assert study.take_job() is None
    assert study.ended == "the 5 evaluations that were asked for are finished"


def test_a_second_outcome_of_an_arch_counts_for_nothing():
    study = study_of(toy_space(), 5)
    job = study.take_job()
    assert study.awaits(job)
    assert study.finish(job, Outcome({"top1": 0.5})) is not None
    assert not study.awaits(job)
    assert study.finish(job, Outcome({"top1": 0.9})) is None
    assert [record.values[0] for record in study.records] == [0.5]


def test_an_outcome_that_nobody_waits_for_is_taken_all_the_same():
    """As after a restart of whoever holds the study: its leases are forgotten."""
    space = toy_space()
    arch = all_archs(space)[7]
    job = Job(space.identity(arch), arch, Genes(space).encode(arch), "sampler")
    study = study_of(space, 5)
    assert study.finish(job, Outcome({"top1": 0.5})).identity == job.identity
    assert len(study.records) == 1
    assert job.identity not in [each.identity for each in drive(study, Evaluate(space))]


def test_when_nothing_is_left_but_jobs_are_out_the_search_waits():
    space = small_space()
    study = study_of(space, 100)
    out = [study.take_job() for _ in range(27)]
    assert None not in out
    repeated = study.counts.repeated
    assert study.take_job() is None
    assert study.take_job() is None
    assert study.counts.repeated <= repeated + 100, "it does not ask for ever"
    assert study.ended is None
    for job in out:
        study.finish(job, Outcome({"top1": 0.5}))
    assert study.take_job() is None
    assert study.ended == "every arch has been evaluated"
