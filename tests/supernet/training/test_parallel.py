"""Two processes against one that is given their batches joined."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from training_toys import toy_supernet

pytestmark = pytest.mark.cluster
HERE = Path(__file__).parents[1]
WORKER = HERE / "parallel_worker.py"


def start(folder, count, dtype="float64", *more):
    folder.mkdir(parents=True, exist_ok=True)
    path = os.pathsep.join([str(HERE), str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")])
    return [
        subprocess.Popen(
            [sys.executable, WORKER, str(rank), str(count), dtype, folder, *map(str, more)],
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(count)
    ]


def trained(folder, count, dtype="float64", *more):
    for process in start(folder, count, dtype, *more):
        _, error = process.communicate(timeout=300)
        assert process.returncode == 0, error
    return [torch.load(folder / f"{rank}-{count}.pt") for rank in range(count)]


def furthest(one, other):
    """The greatest difference, relative to the largest entry of all."""
    assert one.keys() == other.keys()
    largest = max(value.abs().max().item() for value in other.values())
    return max((one[name] - other[name]).abs().max().item() for name in other) / largest


@pytest.fixture(scope="module")
def float64(tmp_path_factory):
    folder = tmp_path_factory.mktemp("parallel")
    return trained(folder / "one", 1), trained(folder / "two", 2)


def test_gradients_are_those_of_the_joined_batch(float64):
    (alone,), both = float64
    for each in both:
        assert furthest(each["gradients"], alone["gradients"]) < 1e-10


def test_all_that_is_trained_has_learned(float64):
    """Else what follows would compare nothing: selectors, and steps that nobody learns from."""
    (alone,), _ = float64
    names = {name.split(".")[0] for name in alone["gradients"]}
    assert {"selectors", "blocks", "head", "pools"} <= names
    start = toy_supernet().double().state_dict()
    for name in ("selectors.1.predict.weight", "head.weight", "blocks.2.attn.qkv.weight"):
        assert not torch.equal(alone["weights"][name], start[name])


def test_float32_gradients_are_those_of_the_joined_batch(tmp_path):
    (alone,) = trained(tmp_path / "one", 1, "float32")
    for each in trained(tmp_path / "two", 2, "float32"):
        assert furthest(each["gradients"], alone["gradients"]) < 1e-4


@pytest.fixture(scope="module")
def depth(tmp_path_factory):
    """A supernet whose head has batch norm, over the images of all processes."""
    folder = tmp_path_factory.mktemp("depth")
    return trained(folder / "one", 1, "float64", "depth"), trained(
        folder / "two", 2, "float64", "depth"
    )


def test_dense_gradients_are_those_of_the_joined_batch(depth):
    (alone,), both = depth
    names = {name.split(".")[0] for name in alone["gradients"]}
    assert {"selectors", "blocks", "head", "pools"} <= names
    for each in both:
        assert furthest(each["gradients"], alone["gradients"]) < 1e-10


def test_gradients_of_labelled_pixels_are_those_of_the_joined_batch(tmp_path):
    """A tenth of the pixels is void, other numbers of them in each process."""
    (alone,) = trained(tmp_path / "one", 1, "float64", "segmentation")
    assert {"selectors", "blocks", "head", "pools"} <= {x.split(".")[0] for x in alone["gradients"]}
    for each in trained(tmp_path / "two", 2, "float64", "segmentation"):
        assert furthest(each["gradients"], alone["gradients"]) < 1e-10
        assert furthest(each["weights"], alone["weights"]) < 1e-8


def test_dense_weights_and_running_statistics_are_those_of_one_process(depth):
    (alone,), both = depth
    counted = [name for name in alone["weights"] if name.endswith("num_batches_tracked")]
    statistics = [name for name in alone["weights"] if ".running_" in name]
    assert len(counted) == 1
    assert len(statistics) == 2
    for each in both:
        count = each["weights"].pop(counted[0])
        assert torch.equal(count, alone["weights"][counted[0]])
        assert count > 40  # each arch of each step and batch
        rest = {name: alone["weights"][name] for name in each["weights"]}
        assert furthest(each["weights"], rest) < 1e-8
    first, second = (each["weights"] for each in both)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_under_autocast_they_are_to_the_rounding_of_bfloat16(tmp_path):
    (alone,) = trained(tmp_path / "one", 1, "float32", 1, "amp")
    (exact,) = trained(tmp_path / "exact", 1, "float32", 1)
    assert furthest(alone["gradients"], exact["gradients"]) > 1e-4
    both = trained(tmp_path / "two", 2, "float32", 1, "amp")
    for each in both:
        # The gradient of a batch is rounded as a whole, or in halves that are summed in float32.
        assert furthest(each["gradients"], alone["gradients"]) < 0.02
    first, second = (each["weights"] for each in both)
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("task", ["labels", "depth"])
def test_when_a_process_dies_the_other_ends_soon_and_says_so(tmp_path, task):
    """Also in the middle of a batch norm, forwards or backwards."""
    first, second = start(tmp_path, 2, "float64", 500, task)
    checkpoint = tmp_path / "training" / "checkpoint.pt"
    deadline = time.monotonic() + 120
    while not checkpoint.exists():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    second.kill()
    killed = time.monotonic()
    _, error = first.communicate(timeout=60)
    second.communicate()
    assert time.monotonic() - killed < 60
    assert first.returncode == 1
    assert "ProcessLostError: another process of the training has ended; start all" in error


def test_another_number_of_processes_goes_on_from_the_checkpoint(tmp_path):
    first, second = start(tmp_path, 2)
    checkpoint = tmp_path / "training" / "checkpoint.pt"
    deadline = time.monotonic() + 120
    while not checkpoint.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    for process in (first, second):
        process.kill()
        process.communicate()
    at = torch.load(checkpoint, weights_only=True)["position"]
    assert (at["epoch"], at["step"]) < (2, 0)
    (process,) = start(tmp_path, 1, "float64", 2, "loud")
    _, error = process.communicate(timeout=120)
    assert process.returncode == 0
    assert "going on with 1 processes instead of 2" in error
    rows = [json.loads(each) for each in (checkpoint.parent / "log.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [0, 1]


def test_weights_after_twenty_steps_are_those_of_one_process(float64):
    (alone,), both = float64
    for each in both:
        assert furthest(each["weights"], alone["weights"]) < 1e-8
    first, second = (each["weights"] for each in both)
    assert all(torch.equal(first[name], second[name]) for name in first)
