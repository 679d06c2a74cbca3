"""Drivers that are killed, that are two, and that the clock plays tricks on."""

import os
import signal

import pytest
from killing import kill_and_go_on, summed
from toy_runs import identities, last_line, ran, start, wait_until, write_config

pytestmark = pytest.mark.cluster


@pytest.mark.parametrize("workers", [0, 2])
def test_a_killed_driver_loses_nothing_that_was_stored(tmp_path, ledger, workers):
    kills = [
        kill_and_go_on(tmp_path / str(number), seed=number + workers, workers=workers)
        for number in range(ledger.times(10, few=1))
    ]
    ledger.add(1, f"kill -9 of the driver of a search, {workers} workers", **summed(kills))


def test_a_second_command_on_a_folder_is_refused_by_name_of_the_first(tmp_path, ledger):
    config, run = write_config(tmp_path), tmp_path / "run"
    ran("train", config, "--run", run, "--supernet.epochs", "1")
    command = ["search", config, "--run", run, "--supernet.epochs", "1", "--search.trials", "60"]
    first, injected = start(*command), ledger.times(5, few=1)
    wait_until(lambda: len(identities(run)) > 2, first)
    # It sleeps, so that it has not ended when the second one looks.
    os.kill(first.pid, signal.SIGSTOP)
    before = identities(run)
    for _ in range(injected):
        second = start(*command)
        _, error = second.communicate(timeout=120)
        assert second.returncode == 2
        assert f"another command is at work here (process {first.pid} on " in last_line(error)
        assert error.count("\n") == 1
    assert identities(run) == before
    os.kill(first.pid, signal.SIGCONT)
    _, error = first.communicate(timeout=120)
    assert first.returncode == 0, error
    after = identities(run)
    assert len(set(after)) == 60
    ledger.add(
        10,
        "two commands on one folder",
        injected,
        lost=len(set(before) - set(after)),
        doubled=len(after) - len(set(after)),
        told="the second is refused, naming process and host of the first",
    )
