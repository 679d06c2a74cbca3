"""Which Ray the workers run on, and how many of them there are."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from ray_cluster import kill_tree
from searching import SPACE, Noting
from started import PATHS

from search import Workers
from search.distributed.connect import fit_workers
from search.run import run_search
from search.study.options import SearchOptions
from space import InputError

pytestmark = pytest.mark.cluster

PIDS = "pids.txt"


@pytest.fixture(autouse=True)
def _importable(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", PATHS)


def test_a_ray_that_the_user_has_started_is_used_and_goes_on(tmp_path):
    program = Path(__file__).parents[1] / "ray_of_a_user.py"
    process = subprocess.Popen(
        [sys.executable, program, tmp_path / "run"],
        # Ray writes its token to the home folder.
        env=os.environ | {"HOME": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        said, _ = process.communicate(timeout=240)
        assert process.returncode == 0, said
    finally:
        kill_tree(process.pid)


def make(folder):
    with (folder / PIDS).open("a") as file:
        file.write(f"{os.getpid()}\n")
    return Noting(folder / "evaluated.txt", 0.0, None)


@pytest.mark.parametrize(
    ("options", "trials", "most", "line"),
    [
        (
            SearchOptions(500),
            600,
            os.cpu_count(),
            f"{os.cpu_count()} of 500 workers fit on the cluster's nodes",
        ),
        (
            SearchOptions(500, cpus_per_worker=0.05),
            3,
            3,
            "3 of 3 workers fit on the cluster's nodes",
        ),
    ],
)
def test_there_are_no_more_workers_than_cores_and_evaluations(
    tmp_path, options, trials, most, line
):
    seen = []
    front = run_search(
        space=SPACE,
        make_evaluate=partial(make, tmp_path),
        trials=trials,
        options=options,
        on_event=seen.append,
    )
    assert front.evaluations == trials
    assert 1 <= len((tmp_path / PIDS).read_text().split()) <= most
    notes = [note for progress in seen for note in progress.notes]
    assert [note.startswith(line) for note in notes] == [True]
    assert ("the others are not started" in notes[0]) == (trials == 600)


@pytest.mark.parametrize(
    ("workers", "count", "gpus"),
    [
        (Workers(500), 16, 1 / 8),
        (Workers(5), 5, 1 / 3),
        (Workers(500, cpus=0.1), 160, 1 / 80),
        (Workers(500, cpus=4), 4, 1 / 2),
        (Workers(500, gpus=1 / 3), 6, 1 / 3),
        (Workers(500, gpus=0.0), 16, 0.0),
        (Workers(500, processes=2), 1, 1.0),
    ],
)
def test_a_ray_of_our_own_has_the_machines_places(monkeypatch, workers, count, gpus):
    monkeypatch.setattr("ray.cluster_resources", lambda: {"CPU": 16.0, "GPU": 2.0})
    started = fit_workers(workers, own_ray=True)
    assert (started.count, started.gpus) == (count, gpus)
    assert fit_workers(workers, own_ray=False).count == workers.count, "nodes may join"


@pytest.mark.parametrize(
    ("workers", "words"),
    [
        (
            Workers(1, cpus=3),
            r"^cpus_per_worker: 3 for each worker, but this machine has 2$",
        ),
        (
            Workers(1, cpus=2, prefix="retrain.", processes=4),
            r"^retrain\.cpus_per_worker: 2 for each of 4 processes, 8 in all, but this machine has",
        ),
        (
            Workers(1, gpus=1.0),
            r"^gpus_per_worker: 1 for each worker, but this machine has 0$",
        ),
    ],
)
def test_what_never_has_a_place_is_refused(monkeypatch, workers, words):
    monkeypatch.setattr("ray.cluster_resources", lambda: {"CPU": 2.0})
    with pytest.raises(InputError, match=words):
        fit_workers(workers, own_ray=True)
