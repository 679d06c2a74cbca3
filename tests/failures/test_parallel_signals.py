"""Pre-emption of processes that train together: they stop at the same step, and are stored."""

import os
import random
import signal
import socket
import subprocess
import sys
import time

import pytest
from toy_runs import PATIENCE, SUPERNET, epochs_done, last_line, start, wait_until

pytestmark = pytest.mark.cluster

COUNT = 2
LEAVES_IN = 10.0
TERMINATED = "tokennas: terminated; the same command goes on from here"


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def launched(config, run):
    """A training as a launcher starts it: the processes, in the order of their ranks."""
    together = {"WORLD_SIZE": COUNT, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    places = [together | {"RANK": rank, "LOCAL_RANK": rank} for rank in range(COUNT)]
    environs = [{name: str(value) for name, value in place.items()} for place in places]
    return [start("train", config, "--run", run, environ=environ) for environ in environs]


def trained(config, run):
    for process in launched(config, run):
        _, error = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, error
    return (run / SUPERNET).read_bytes()


@pytest.fixture(scope="module")
def whole(toy, tmp_path_factory):
    return trained(toy[0], tmp_path_factory.mktemp("whole") / "run")


@pytest.mark.parametrize("told", [(0, 1), (0,), (1,)], ids=["all", "the first", "another"])
def test_they_stop_together_and_go_on_bit_for_bit(tmp_path, toy, whole, ledger, told):
    rng, run, times = random.Random(str(told)), tmp_path / "run", ledger.times(5)
    place, longest, lost = (run / SUPERNET).parent, 0.0, 0
    for _ in range(times):
        processes, done = launched(toy[0], run), epochs_done(place)
        wait_until(lambda: epochs_done(place) > done, processes[0])  # noqa: B023 - called at once
        time.sleep(rng.uniform(0, 0.3))
        before, began = time.time(), time.monotonic()
        for rank in told:
            processes[rank].send_signal(signal.SIGTERM)
        errors = [process.communicate(timeout=PATIENCE)[1] for process in processes]
        longest = max(longest, time.monotonic() - began)
        assert [process.returncode for process in processes] == [143] * COUNT, errors
        assert [last_line(error) for error in errors] == [TERMINATED, ""]
        lost += (place / "checkpoint.pt").stat().st_mtime < before
    assert longest < LEAVES_IN
    assert trained(toy[0], run) == whole
    who = {2: "all processes", 1: f"process {told[0]} of {COUNT} alone"}[len(told)]
    ledger.add(
        23,
        f"SIGTERM to {who} of a data parallel training",
        times,
        lost=lost,
        seconds=longest,
        told="exit code 143, one line; afterwards bit-equal",
    )


def test_torchrun_passes_it_on(tmp_path, toy, whole, ledger):
    """To processes that the scheduler has told already: they hear it twice."""
    run = tmp_path / "run"
    words = ["-m", "torch.distributed.run", "--nproc-per-node", str(COUNT), "--standalone"]
    process = subprocess.Popen(
        [sys.executable, *words, "-m", "--", "search", "train", str(toy[0]), "--run", str(run)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    place = (run / SUPERNET).parent
    wait_until(lambda: epochs_done(place) > 0, process)
    before, began = time.time(), time.monotonic()
    os.killpg(process.pid, signal.SIGTERM)
    _, error = process.communicate(timeout=PATIENCE)
    seconds = time.monotonic() - began
    assert seconds < LEAVES_IN
    assert process.returncode != 0
    assert error.count(TERMINATED) == 1
    lost = int((place / "checkpoint.pt").stat().st_mtime < before)
    assert trained(toy[0], run) == whole
    told = "one line among torchrun's; afterwards bit-equal"
    ledger.add(
        23, "SIGTERM to torchrun and all it started", 1, lost=lost, seconds=seconds, told=told
    )
