"""Turns, drift and conditions; no timing is asserted but of clocks that the tests hold."""

import numpy as np
import pytest
import torch
from rich.console import Console

from search.latency import measure as measuring
from search.latency.conditions import Conditions
from search.latency.measure import (
    WARM_UP,
    Timing,
    device_name,
    remove_drift,
    time_interleaved,
    time_rounds,
)
from search.latency.profile_log import RoundLog
from space import InputError


def test_runs_take_turns(monkeypatch):
    clock, calls = [0.0], []
    monkeypatch.setattr(measuring.time, "perf_counter", lambda: clock[0])

    def run(name, seconds):
        def call():
            calls.append(name)
            clock[0] += seconds

        return call

    runs = {name: run(name, i + 1) for i, name in enumerate("abc")}
    taken = time_interleaved(runs, 4, lambda: None, warm_up=2)
    assert taken == {"a": [1] * 4, "b": [2] * 4, "c": [3] * 4}
    rounds = [calls[i : i + 3] for i in range(0, len(calls), 3)]
    assert len(rounds) == 6
    assert all(sorted(each) == ["a", "b", "c"] for each in rounds)
    assert len({tuple(each) for each in rounds}) > 1


def test_only_the_first_round_is_warmed_up():
    calls = []
    rounds = time_rounds(
        {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")},
        range(2, 5),
        torch.device("cpu"),
        Console(quiet=True),
        "timing",
    )
    assert [len(each) for each in rounds] == [2, 2, 2]
    assert [calls.count(each) for each in "ab"] == [WARM_UP + 3] * 2


def test_what_slows_a_round_is_taken_out():
    rng = np.random.default_rng(0)
    slow = rng.uniform(1, 3, 9)
    rounds = [[(i + 1) * each for i in range(10)] for each in slow]
    found = remove_drift(map(str, range(10)), rounds)
    assert all(timing.spread == pytest.approx(0, abs=1e-9) for timing in found.values())
    assert found["3"].seconds / found["0"].seconds == pytest.approx(4)
    assert found["0"].seconds == pytest.approx(np.median(slow))


def test_a_timing_is_median_and_quartiles():
    assert Timing.of([1.0, 2.0, 3.0, 4.0, 5.0]) == Timing(3.0, 1.0)


def test_conditions():
    here = Conditions(device_name(torch.device("cpu")), 4, "float32", compiled=False)
    assert f"{torch.get_num_threads()} thread" in here.device
    assert str(here).endswith("batch 4, float32, eager")
    later = Conditions(here.device, 4, "float32", False, libraries="torch 99")
    assert here.like(later)
    assert not here.like(Conditions(here.device, 5, "float32", False))
    with pytest.raises(InputError, match=r"did you mean 'bfloat16'"):
        Conditions("cpu", 4, "bfloat", compiled=False)


def test_rounds_are_kept_and_go_on(tmp_path):
    path, what = tmp_path / "cpu.rounds.jsonl", {"archs": ["a", "b"]}
    rounds = RoundLog(path, what, 2)
    rounds.add([1.0, 2.0])
    rounds.add([3.0, 4.0])
    assert RoundLog(path, what, 2).seconds == [[1.0, 2.0], [3.0, 4.0]]
    path.write_text(path.read_text()[:-4])
    assert RoundLog(path, what, 2).seconds == [[1.0, 2.0]]
    # What is left of the torn line is gone, so that the next one stands by itself.
    again = RoundLog(path, what, 2)
    again.add([5.0, 6.0])
    assert RoundLog(path, what, 2).seconds == [[1.0, 2.0], [5.0, 6.0]]
    assert RoundLog(path, {"archs": ["a", "c"]}, 2).seconds == []
    for damaged in (b"", b"a\xff\xfe\n[1.0, 2.0]\n"):
        path.write_bytes(damaged)
        assert RoundLog(path, what, 2).seconds == []


def test_a_folder_in_the_place_of_the_rounds_is_told(tmp_path):
    with pytest.raises(InputError, match=rf"^{tmp_path}: cannot be read: "):
        RoundLog(tmp_path, {}, 2)
