"""A front that is empty says why, and how near the search came."""

import re

import pytest
from search_toys import Evaluate, drive, problem_of, study_of, toy_space

from search.front.front import Front
from search.run import run_search
from search.study.storage import read_trials
from search.study.trial_format import read_records
from space import InputError

SPACE = toy_space()


@pytest.mark.parametrize(
    ("budget", "words"),
    [
        ("top1=0.99", r"none keeps top1>=0\.99; {} comes nearest: top1={top1}$"),
        ("latency_ms=0.001", r"keeps latency_ms<=0\.001; {} comes nearest: latency_ms={ms}$"),
        (
            "top1=0.1, latency_ms=0.001",
            r"ms<=0\.001; {} comes nearest: latency_ms={ms}$",
        ),
    ],
)
def test_an_empty_front_says_which_arch_came_nearest_to_the_budget(tmp_path, budget, words):
    given = {"space": SPACE, "evaluate": Evaluate(SPACE), "trials": 20, "folder": tmp_path}
    front = run_search(**given, budget=budget)
    assert (len(front), front.evaluations, front.failed) == (0, 20, 0)
    assert Front.load(tmp_path / "front.yaml") == front
    records = read_records(read_trials(tmp_path), problem_of(SPACE, budget=budget))
    sign, name = (-1, "top1") if budget == "top1=0.99" else (1, "latency_ms")
    nearest = min(records, key=lambda record: sign * record.metrics[name])
    macs = rf"{nearest.metrics['macs'] / 1e9:.4g}G MACs"
    best = {"top1": nearest.metrics["top1"], "ms": nearest.metrics["latency_ms"]}
    who = rf"trial {nearest.number} \({nearest.identity[:6]}, {macs}\)"
    values = {key: re.escape(f"{value:.4g}") for key, value in best.items()}
    assert re.search(words.format(who, **values), front.ended), front.ended


def test_a_front_of_failures_alone_says_how_they_failed():
    def broken(arch):
        raise ValueError("no such device")

    study = study_of(SPACE, 6)
    with pytest.raises(InputError, match="none of the 6 evaluations succeeded"):
        drive(study, broken)
    front = Front.of(study.problem, study.records, "finished")
    assert (len(front), front.evaluations, front.failed) == (0, 6, 6)
    assert "finished; all failed, the last with ValueError: no such device" in front.ended


def test_a_study_without_a_store_ends_with_a_front_where_one_succeeded():
    study, evaluate = study_of(SPACE, 12), Evaluate(SPACE)

    def fail_but_once(arch):
        if len(study.records) != 8:
            raise TimeoutError("too long")
        return evaluate(arch)

    drive(study, fail_but_once)
    assert Front.of(study.problem, study.records).failed == 11
