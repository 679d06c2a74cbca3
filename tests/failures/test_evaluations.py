"""Evaluations that go wrong fail alone: they raise, give NaN, hang, kill, or run out of memory."""

import math
import os
import time
from functools import partial
from pathlib import Path

import pytest
import torch
from search_toys import Evaluate, all_archs, problem_of
from searching import BUDGET, SPACE

from search.run import run_search
from search.study.options import SearchOptions
from search.study.storage import read_trials
from search.study.trial_format import read_records
from supernet.evaluation import HeldOut

pytestmark = pytest.mark.cluster

TESTS = Path(__file__).parent.parent
PROBLEM = problem_of(SPACE, budget=BUDGET)
TRIALS = 40
LIMIT = 2.0
INITIAL = [arch for arch in all_archs(SPACE) if PROBLEM.budget.inside(arch)][:60:10]


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    paths = os.pathsep.join([str(TESTS / "search"), str(TESTS / "space"), str(TESTS / "failures")])
    monkeypatch.setenv("PYTHONPATH", paths)


class Faulty:
    """Does one thing to one arch, and evaluates the others."""

    def __init__(self, fault, identity):
        self.fault, self.identity = fault, identity
        self.evaluate = Evaluate(SPACE)

    def __call__(self, arch):
        if SPACE.identity(arch) == self.identity:
            return self.fault()
        return self.evaluate(arch)


def raises():
    raise ValueError("no such arch")


def gives_nan():
    return {"top1": math.nan}


def hangs():
    while True:
        time.sleep(0.1)


def dies():
    os._exit(9)


# What is done, the row, whether a search without workers survives it, and what is told.
FAULTS = [
    (raises, 6, True, "ValueError: no such arch"),
    (gives_nan, 7, True, "top1 is nan"),
    (hangs, 8, True, "it took longer than the time limit of 2 s"),
    (dies, 9, False, "its worker died or fell silent 3 times"),
]


@pytest.mark.parametrize("case", FAULTS)
def test_an_evaluation_that_goes_wrong_fails_alone(tmp_path, ledger, case):
    fault, row, here, told = case
    bad, longest = SPACE.identity(INITIAL[2]), 0.0
    counts = [0, 2] if here else [2]
    for workers in counts:
        began, folder = time.monotonic(), tmp_path / str(workers)
        run_search(
            space=SPACE,
            make_evaluate=partial(Faulty, fault, bad),
            budget=BUDGET,
            trials=TRIALS,
            options=SearchOptions(workers=workers, time_limit=LIMIT),
            folder=folder,
            initial=INITIAL,
        )
        longest = max(longest, time.monotonic() - began)
        records = read_records(read_trials(folder), PROBLEM)
        assert len(records) == TRIALS == len({record.identity for record in records})
        failed = {record.identity: record.error for record in records if record.error}
        assert failed.keys() == {bad}
        assert told in failed[bad]
    name = f"an evaluation {fault.__name__.replace('_', ' ')}"
    if fault is dies:
        name = "an evaluation kills its worker each time"
    ledger.add(row, name, len(counts), seconds=longest, told=f"that arch failed: {told}")


class SmallDevice:
    """A network on a device with room for so many images at once (simulated)."""

    def __init__(self, room):
        self.room, self.calls = room, []

    def __call__(self, images):
        self.calls.append(len(images))
        if len(images) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return images.flatten(1)[:, :5]


def test_out_of_memory_makes_batches_smaller_and_then_fails_that_arch_alone(ledger):
    from training_toys import toy_task  # noqa: PLC0415

    images = torch.randn(20, 3, 4, 4)
    targets = torch.randint(5, (20,))
    held_out = HeldOut([(images, targets)], toy_task(), torch.device("cpu"))
    whole = held_out.measure(SmallDevice(20))
    small = SmallDevice(6)
    assert held_out.measure(small) == pytest.approx(whole)
    assert small.calls == [20, 10, 5, 5, 5, 5]
    again = SmallDevice(6)
    held_out.measure(again)
    assert again.calls == [5, 5, 5, 5], "what fitted is remembered"
    with pytest.raises(torch.OutOfMemoryError):
        held_out.measure(SmallDevice(0))
    after = SmallDevice(6)
    assert held_out.measure(after) == pytest.approx(whole)
    assert after.calls == [5, 5, 5, 5], "one that fits nowhere costs the others nothing"
    told = "smaller batches; then that arch failed"
    ledger.add(9.5, "out of GPU memory in evaluation (simulated)", 2, told=told)
