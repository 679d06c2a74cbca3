"""Ctrl-C, as a terminal sends it: to the command and to every process that it has started."""

import os
import signal
import subprocess
import sys
import time

import pytest

from search.storage import JOURNAL, read_trials

pytestmark = pytest.mark.cluster

CONFIG = """
backbone:
  model: vit_tiny_patch16_224
  args: {img_size: 16, patch_size: 4, embed_dim: 16, depth: 6, num_heads: 2}
data: {batch: 16, workers: 0, train_limit: 600, test_limit: 60, search_share: 0.5}
space:
  pool: {kinds: [avg2d, conv2d], grids: [3, 2], max_pools: 1}
  skip: {ratios: [0.5], selectors: [map, cls], max_run: 2}
supernet: {epochs: 1, random_archs: 1}
search: {trials: 100_000, budget: macs=80%}
"""
COMMAND = [sys.executable, "-c", "from search.cli import command; command()"]
LEAVES_IN = 2.0


@pytest.fixture(autouse=True)
def heard():
    """What a shell starts in the background ignores Ctrl-C, and so would all that it starts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def config(tmp_path):
    file = tmp_path / "toy.yaml"
    file.write_text(CONFIG + f"run: {tmp_path / 'run'}\n")
    return file


def start(*words):
    return subprocess.Popen(
        [*COMMAND, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def identities(folder):
    return [trial.user_attrs.get("identity") for trial in read_trials(folder)]


@pytest.mark.parametrize("workers", [0, 2])
def test_ctrl_c_ends_a_search_at_once_and_the_same_command_goes_on(config, workers):
    search = config.parent / "run" / "search" / "main"
    assert start("train", str(config)).wait(timeout=120) == 0
    words = ("search", str(config), "--search.workers", str(workers))
    process = start(*words)
    ends = time.monotonic() + 120
    while not (search / JOURNAL).exists() or len(identities(search)) < 8:
        assert time.monotonic() < ends
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    began = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=30) == 130
    assert time.monotonic() - began < LEAVES_IN
    _, error = process.communicate(timeout=30)
    assert error.splitlines() == ["tokennas: interrupted; the same command goes on from here"]
    kept = identities(search)
    assert len(kept) == len(set(kept)) >= 8
    again = start(*words, "--search.trials", str(len(kept) + 5))
    _, error = again.communicate(timeout=120)
    assert (again.returncode, error) == (0, "")
    after = identities(search)
    assert set(kept) <= set(after)
    assert len(after) == len(set(after)) == len(kept) + 5
