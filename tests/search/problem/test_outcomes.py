"""What becomes of an evaluation: metrics, failures, constraints, functions of the arch."""

import math

import pytest
from search_toys import (
    Evaluate,
    drive,
    study_of,
    toy_space,
)

from search.problem.evaluation import Outcome
from search.problem.objectives import Objective
from search.study.first_evaluations import MAX_FAILURES
from space import InputError


def test_trials_count_finished_evaluations_failed_ones_included():
    space = toy_space()
    outcomes = iter([True, False] * 20)

    def evaluate(arch):
        if next(outcomes):
            return {"top1": 0.5}
        raise RuntimeError("out of memory")

    study = study_of(space, 20)
    jobs = drive(study, evaluate)
    assert len(jobs) == len(study.records) == 20
    assert sum(record.error is not None for record in study.records) == 10
    assert study.ended == "the 20 evaluations that were asked for are finished"


@pytest.mark.parametrize(
    ("result", "error"),
    [
        ({"top1": math.nan}, "top1 is nan"),
        ({"top1": math.inf}, "top1 is inf"),
        ({"top1": "high"}, "metric top1 must be a number, got 'high'"),
        ({"top1": None}, "metric top1 must be a number, got None"),
        (0.5, "must give a mapping of metrics, got 0.5"),
        (None, "must give a mapping of metrics, got None"),
        (ValueError("two\nlines"), "ValueError: two lines (test_outcomes.py:"),
        (KeyError("x"), "KeyError: 'x'"),
        (RecursionError("deep"), "RecursionError: deep"),
    ],
)
def test_a_bad_evaluation_fails_that_arch_alone(result, error):
    space = toy_space()
    bad = [space.largest()]

    def evaluate(arch):
        if arch not in bad:
            return {"top1": 0.5}
        if isinstance(result, Exception):
            raise result
        return result

    study = study_of(space, 12)
    drive(study, evaluate)
    failed = [record for record in study.records if record.error is not None]
    assert [record.arch for record in failed] == bad
    assert error in failed[0].error
    assert "\n" not in failed[0].error
    assert (failed[0].values, failed[0].metrics) == (None, {})
    assert len(study.records) == 12


def test_other_metrics_that_are_not_finite_are_left_out():
    study = study_of(toy_space(), 1)
    drive(study, lambda arch: {"top1": 0.5, "ece": math.nan, "speed": 3})
    assert study.records[0].metrics.keys() == {"top1", "speed", "macs", "params", "tokens"}


def test_where_nothing_works_the_search_stops():
    study = study_of(toy_space(), 100)
    with pytest.raises(
        InputError,
        match=r"none of the first 10 evaluations succeeded, the first failed with ZeroDivision",
    ):
        drive(study, lambda arch: 1 / 0)
    assert len(study.records) == MAX_FAILURES


def test_failures_after_a_success_stop_nothing():
    study = study_of(toy_space(), 40)
    first = study.take_job()
    study.finish(first, Outcome({"top1": 0.5}))
    drive(study, lambda arch: 1 / 0)
    assert len(study.records) == 40


def test_a_metric_that_is_missing_is_told_at_once():
    study = study_of(toy_space(), 100)
    with pytest.raises(InputError, match=r"gives no 'top1', only top_1.*did you mean 'top_1'"):
        drive(study, lambda arch: {"top_1": 0.5})


def test_metrics_that_only_a_budget_needs_must_be_there_too():
    study = study_of(toy_space(), 100, budget="latency_ms=3")
    with pytest.raises(InputError, match="gives no 'latency_ms', only top1"):
        drive(study, lambda arch: {"top1": 0.5})


def test_constraints_reach_the_sampler_and_the_record():
    space = toy_space()
    study = study_of(space, 80, budget="latency_ms=3, top1=0.7")
    drive(study, Evaluate(space))
    for record in study.records:
        excess = {"latency_ms": record.metrics["latency_ms"] - 3, "top1": 0.7 - record.values[0]}
        assert record.excess == pytest.approx(excess)
        assert record.meets_constraints == (max(excess.values()) <= 0)
    told = study._proposals._study.trials
    assert all(trial.constraints.keys() == {"latency_ms", "top1"} for trial in told if trial.values)
    assert {record.meets_constraints for record in study.records} == {True, False}


def test_objectives_may_be_functions_of_the_arch():
    space = toy_space()
    shared = Objective("shared", "min", lambda arch: sum(block.shared for block in arch.blocks))
    study = study_of(space, 30, objectives=["top1", shared])
    jobs = drive(study, Evaluate(space))
    for job, record in zip(jobs, study.records, strict=True):
        count = sum(block.shared for block in job.arch.blocks)
        assert (record.values[1], record.metrics["shared"]) == (count, count)


def test_a_function_that_raises_fails_that_arch_alone():
    space = toy_space()
    depth = Objective("pools", "min", lambda arch: 1 / sum(bool(b.pool) for b in arch.blocks))
    study = study_of(space, 30, objectives=["top1", depth])
    drive(study, Evaluate(space))
    for record in study.records:
        pools = sum(bool(block.pool) for block in record.arch.blocks)
        assert (record.error is None) == (pools > 0)
    assert "ZeroDivisionError" in next(r.error for r in study.records if r.error)
