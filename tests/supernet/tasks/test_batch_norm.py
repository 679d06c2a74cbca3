"""Batch norm over processes: two give what one gives on the joined batch."""

import copy
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from dense_toys import dense_backbone
from torch import nn

from supernet.tasks.batch_norm import BatchNorm, synchronise
from supernet.tasks.heads import HeadOptions

HERE = Path(__file__).parents[1]
WORKER = HERE / "batch_norm_worker.py"


def start(folder, rank, count):
    path = os.pathsep.join([str(HERE), str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, WORKER, str(rank), str(count), folder],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Of one process on the whole batch, and of two on its halves."""
    folder, found = tmp_path_factory.mktemp("norm"), []
    for count in (1, 2):
        processes = [start(folder, rank, count) for rank in range(count)]
        for process in processes:
            _, error = process.communicate(timeout=120)
            assert process.returncode == 0, error
        found.append([torch.load(folder / f"{rank}-{count}.pt") for rank in range(count)])
    return found


def equal(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)


@pytest.mark.cluster
def test_outputs_are_those_of_the_joined_batch(results):
    (alone,), both = results
    for mode in ("training", "evaluation"):
        equal(torch.cat([each[mode] for each in both]), alone[mode])


@pytest.mark.cluster
def test_running_statistics_are_those_of_the_joined_batch(results):
    (alone,), both = results
    for each in both:
        assert each["buffers"].keys() == alone["buffers"].keys()
        for name, expected in alone["buffers"].items():
            equal(each["buffers"][name], expected)
    assert all(int(value) == 2 for name, value in alone["buffers"].items() if "tracked" in name)
    # As if both had one state: bit for bit.
    assert all(torch.equal(both[0]["buffers"][k], both[1]["buffers"][k]) for k in alone["buffers"])


@pytest.mark.cluster
def test_gradients_are_those_of_the_joined_batch(results):
    (alone,), both = results
    # Of a mean over each process's images: halves of the parameters' gradients are summed.
    for name, expected in alone["gradients"].items():
        equal(sum(each["gradients"][name] for each in both) / 2, expected)
    equal(torch.cat([each["images"] for each in both]) / 2, alone["images"])


def test_one_process_has_torchs_own_batch_norm():
    ours, theirs = BatchNorm(4), nn.BatchNorm2d(4)
    images = torch.randn(3, 4, 5, 6, generator=torch.Generator().manual_seed(0))
    for mode in (True, False):
        assert torch.equal(ours.train(mode)(images), theirs.train(mode)(images))
    assert all(map(torch.equal, ours.state_dict().values(), theirs.state_dict().values()))


def test_all_batch_norms_of_a_head_are_synchronised():
    backbone = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Sequential(nn.BatchNorm2d(2)), nn.ReLU())
    copied = copy.deepcopy(backbone)
    synchronise(backbone)
    assert type(backbone[1][0]) is BatchNorm
    assert backbone.state_dict().keys() == copied.state_dict().keys()
    for name in ("linear", "dpt"):
        head = HeadOptions(name, batch_norm=True).make(dense_backbone(), 3)
        norms = [each for each in head.modules() if isinstance(each, nn.BatchNorm2d)]
        assert norms
        assert all(type(each) is BatchNorm for each in norms)
        without = HeadOptions(name).make(dense_backbone(), 3)
        assert not any(isinstance(each, nn.BatchNorm2d) for each in without.modules())
