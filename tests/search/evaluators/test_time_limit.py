"""The time limit of evaluations in this process."""

import contextlib
import math
import signal
import threading
import time

import pytest
from search_toys import Evaluate, small_space

from search.evaluators.base import evaluate_safely
from search.evaluators.time_limit import evaluate_within
from search.pipeline.config import SearchConfig
from search.run import run_search
from search.study.options import SearchOptions
from space import InputError


def test_what_takes_too_long_fails_alone():
    space, calls = small_space(), []
    evaluate = Evaluate(space)

    def slow(arch):
        calls.append(arch)
        if len(calls) == 3:
            while True:
                time.sleep(0.01)
        return evaluate(arch)

    before = signal.getsignal(signal.SIGALRM)
    front = run_search(space=space, evaluate=slow, trials=9, options=SearchOptions(time_limit=0.2))
    assert (front.evaluations, front.failed) == (9, 1)
    assert signal.getsignal(signal.SIGALRM) == before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_an_alarm_of_the_users_own_rings_all_the_same():
    rung = []
    before = signal.signal(signal.SIGALRM, lambda *_: rung.append(time.monotonic()))
    try:
        began = time.monotonic()
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        assert evaluate_within(lambda arch: {"top1": 0.5}, None, 60.0) == {"top1": 0.5}
        while not rung and time.monotonic() < began + 5:
            time.sleep(0.01)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert 0.25 < rung[0] - began < 3


def test_what_was_quick_enough_is_as_without_a_limit():
    space = small_space()
    plain, timed = (
        run_search(
            space=space, evaluate=Evaluate(space), trials=9, options=SearchOptions(time_limit=limit)
        )
        for limit in (None, 60.0)
    )
    assert plain == timed


def test_a_limit_is_told_by_its_length():
    def hang(arch):
        time.sleep(5)

    with pytest.raises(TimeoutError, match=r"longer than the time limit of 0\.1 s"):
        evaluate_within(hang, None, 0.1)


def works_on():
    """A loop over batches that gets over what goes wrong in one of them."""
    for _ in range(1000):
        with contextlib.suppress(Exception):
            time.sleep(0.02)


def catches_all():
    for _ in range(8):
        with contextlib.suppress(BaseException):
            time.sleep(0.05)


def raises_its_own():
    try:
        time.sleep(20)
    except BaseException:
        raise ValueError("a batch could not be read") from None


def deaf():
    """Takes the alarm for its own, as what does not come back to Python would be deaf to it."""
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    time.sleep(0.25)


@pytest.mark.parametrize("work", [works_on, catches_all, raises_its_own, deaf])
def test_what_took_too_long_has_failed_whatever_it_did(work):
    def evaluate(arch):
        work()
        return {"top1": 0.5}

    before, began = signal.getsignal(signal.SIGALRM), time.monotonic()
    outcome = evaluate_safely(evaluate, None, 0.2)
    assert outcome.metrics == {}
    assert outcome.error.startswith("TimeoutError: it took longer than the time limit of 0.2 s")
    assert time.monotonic() - began < 10
    assert signal.getsignal(signal.SIGALRM) == before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_what_catches_everything_is_interrupted_again(monkeypatch):
    monkeypatch.setattr("search.evaluators.time_limit.REPEAT_SECONDS", 0.05)
    caught = []

    def evaluate(arch):
        for _ in range(4):
            try:
                time.sleep(5)
            except BaseException as error:
                caught.append(error)

    with pytest.raises(TimeoutError):
        evaluate_within(evaluate, None, 0.05)
    assert len(caught) == 4


def test_an_error_within_the_limit_stays_what_it_is():
    def broken(arch):
        raise ValueError("no weights")

    assert evaluate_safely(broken, None, 5.0).error.startswith("ValueError: no weights")


def test_ctrl_c_after_the_limit_is_no_failed_evaluation():
    def interrupted(arch):
        with contextlib.suppress(BaseException):
            time.sleep(5)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate_within(interrupted, None, 0.05)


def test_outside_the_main_thread_the_time_counts_that_it_took():
    fronts, told = [], []

    def slow(arch):
        time.sleep(0.05)
        return {"top1": 0.5}

    def search():
        given = {"space": small_space(), "evaluate": slow, "trials": 2, "sampler": "RandomSampler"}
        with pytest.raises(InputError) as caught:
            run_search(**given, options=SearchOptions(time_limit=0.02))
        told.append(str(caught.value))
        fronts.append(run_search(**given, options=SearchOptions(time_limit=5.0)))

    thread = threading.Thread(target=search)
    thread.start()
    thread.join()
    assert [front.failed for front in fronts] == [0]
    assert "none of the 2 evaluations succeeded" in told[0]
    assert "it took longer than the time limit of 0.02 s" in told[0]


@pytest.mark.parametrize("limit", [0, -1.0, math.nan, math.inf, 1e300, "5"])
def test_what_is_no_time_is_refused(limit):
    with pytest.raises(
        InputError, match=r"^search\.time_limit: must be a number of seconds, over 0"
    ):
        SearchConfig(time_limit=limit)
    with pytest.raises(InputError, match=r"^time_limit: must be a number of seconds"):
        run_search(space=small_space(), evaluate=len, options=SearchOptions(time_limit=limit))
