"""`kill -9` in the middle of training and of retraining."""

import os
import random
import signal
import time

import pytest
from toy_runs import STAGES, copied, half_written, ran, start, wait_until

pytestmark = pytest.mark.cluster

# Row of the ledger, and section of the config, of each stage.
ROWS = {"train": (40, "supernet"), "retrain": (41, "retrain")}


def stamp(path):
    return path.stat().st_mtime_ns if path.exists() else 0


@pytest.mark.parametrize("stage", STAGES)
def test_a_kill_at_a_random_step_changes_no_bit(tmp_path, toy, ledger, stage):
    rng, (config, whole), (order, section) = random.Random(stage), toy, ROWS[stage]
    without = ("supernet", "search", "retrain") if stage == "train" else ("retrain",)
    run = copied(whole, tmp_path / "run", *without)
    words = (stage, config, "--run", run, f"--{section}.save_minutes", 0)
    times, longest = ledger.times(10, few=2), 0.0
    checkpoint = (run / STAGES[stage]).with_name("checkpoint.pt")
    for _ in range(times):
        began, process, before = time.monotonic(), start(*words), stamp(checkpoint)
        for _ in range(rng.randint(1, 4)):
            wait_until(lambda: stamp(checkpoint) != before, process)  # noqa: B023 - called at once
            before = stamp(checkpoint)
        longest = max(longest, time.monotonic() - began)
        time.sleep(rng.uniform(0, 0.05))
        os.killpg(process.pid, signal.SIGKILL)
        assert process.wait(timeout=60) == -signal.SIGKILL
        process.communicate()
    ran(*words)
    assert (run / STAGES[stage]).read_bytes() == (whole / STAGES[stage]).read_bytes()
    assert half_written(run) == []
    told = "the same command goes on; bit-equal"
    ledger.add(order, f"kill -9: {stage}", times, seconds=longest, told=told)
