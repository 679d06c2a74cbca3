"""The time limit of evaluations in this process."""

import math
import signal
import threading
import time

import pytest
from search_toys import Evaluate, small_space

from search.config import SearchConfig
from search.run import run_search
from search.timelimit import limited
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
    front = run_search(space=space, evaluate=slow, trials=9, time_limit=0.2)
    assert (front.evaluations, front.failed) == (9, 1)
    assert signal.getsignal(signal.SIGALRM) == before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_what_was_quick_enough_is_as_without_a_limit():
    space = small_space()
    plain, timed = (
        run_search(space=space, evaluate=Evaluate(space), trials=9, time_limit=limit)
        for limit in (None, 60.0)
    )
    assert plain == timed


def test_a_limit_is_told_by_its_length():
    def hang(arch):
        time.sleep(5)

    with pytest.raises(TimeoutError, match=r"longer than the time limit of 0\.1 s"):
        limited(hang, 0.1)(None)


def test_outside_the_main_thread_there_is_no_limit_to_be_had():
    found = []

    def search():
        with pytest.raises(InputError, match="main thread") as caught:
            limited(len, 1.0)
        found.append(str(caught.value))

    thread = threading.Thread(target=search)
    thread.start()
    thread.join()
    assert len(found) == 1


@pytest.mark.parametrize("limit", [0, -1.0, math.nan, math.inf, 1e300])
def test_what_is_no_time_is_refused(limit):
    with pytest.raises(InputError, match=r"^search\.time_limit: must be seconds, over 0 and up to"):
        SearchConfig(time_limit=limit)
    with pytest.raises(InputError, match=r"^time_limit: must be seconds"):
        run_search(space=small_space(), evaluate=len, time_limit=limit)
