"""Ctrl-C and pre-emption: what was done is stored, and the command leaves as a shell expects."""

import os
import random
import signal
import time

import pytest
from toy_runs import (
    PATIENCE,
    STAGES,
    copied,
    epochs_done,
    identities,
    last_line,
    ran,
    start,
    wait_until,
)

pytestmark = pytest.mark.cluster

LEAVES_IN = 10.0
# A search has nothing to store, and the terminal waits.
# A Ray of our own takes a second of it to shut down.
SEARCH_LEAVES_IN = 3.0
# Row, signals, exit code and last word of each.
FAULTS = {
    "Ctrl-C once": (20, [signal.SIGINT], 130, "interrupted"),
    "Ctrl-C twice": (21, [signal.SIGINT, signal.SIGINT], 130, "interrupted"),
    "SIGTERM": (22, [signal.SIGTERM], 143, "terminated"),
}


def signalled(process, fault, rng):
    """Send a fault's signals; the seconds until the command has left as it should, what it said."""
    _, numbers, code, word = FAULTS[fault]
    began = time.monotonic()
    for number in numbers:
        # A terminal signals the whole group, a scheduler that or the one process.
        if number == signal.SIGINT or rng.random() < 0.5:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        if len(numbers) > 1:
            time.sleep(rng.uniform(0, 0.3))
    _, error = process.communicate(timeout=PATIENCE)
    took = time.monotonic() - began
    assert process.returncode == code, error
    assert last_line(error) == f"tokennas: {word}; the same command goes on from here"
    assert took < LEAVES_IN
    return took, error


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_training_is_stored_and_goes_on_bit_for_bit(tmp_path, toy, ledger, fault, stage):
    rng, (config, whole) = random.Random(f"{fault} {stage}"), toy
    without = ("supernet", "search", "retrain") if stage == "train" else ("retrain",)
    run = copied(whole, tmp_path / "run", *without)
    place, times = (run / STAGES[stage]).parent, ledger.times(5)
    checkpoint, longest, lost = place / "checkpoint.pt", 0.0, 0
    for _ in range(times):
        process, done = start(stage, config, "--run", run), epochs_done(place)
        wait_until(lambda: epochs_done(place) > done, process)  # noqa: B023 - called at once
        time.sleep(rng.uniform(0, 0.3))
        before = time.time()
        longest = max(longest, signalled(process, fault, rng)[0])
        if fault != "Ctrl-C twice":
            lost += checkpoint.stat().st_mtime < before
    ran(stage, config, "--run", run)
    assert (run / STAGES[stage]).read_bytes() == (whole / STAGES[stage]).read_bytes()
    order, *_, code, _ = FAULTS[fault]
    told = f"exit code {code}, one line; afterwards bit-equal"
    ledger.add(order, f"{fault}: {stage}", times, lost=lost, seconds=longest, told=told)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_search_keeps_all_that_was_finished(tmp_path, toy, ledger, fault, workers):
    rng, (config, whole) = random.Random(f"{fault} {workers}"), toy
    run = copied(whole, tmp_path / "run", "search", "retrain")
    words = ("search", config, "--run", run)
    times, longest, lost, kept = ledger.times(5), 0.0, 0, []
    for _ in range(times):
        process = start(*words, "--search.workers", workers, "--search.trials", 100_000)
        wait_until(lambda: len(identities(run)) >= len(kept) + 8, process)  # noqa: B023
        finished = identities(run)
        took, error = signalled(process, fault, rng)
        assert len(error.splitlines()) == 1, error
        assert fault == "SIGTERM" or took < SEARCH_LEAVES_IN
        longest, kept = max(longest, took), identities(run)
        lost += len(set(finished) - set(kept))
    # Whoever evaluated before, this process goes on.
    ran(*words, "--search.trials", len(kept) + 5)
    after = identities(run)
    lost += len(set(kept) - set(after))
    doubled = len(after) - len(set(after))
    assert len(after) == len(kept) + 5
    order, *_, code, _ = FAULTS[fault]
    ledger.add(
        order,
        f"{fault}: search, {workers} workers",
        times,
        lost=lost,
        doubled=doubled,
        seconds=longest,
        told=f"exit code {code}, one line",
    )
