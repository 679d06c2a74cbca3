"""Retraining several networks at once, each in a process of its own."""

import os
import shutil
from functools import partial

import pytest
from ray_cluster import Cluster, new_token
from retraining_toys import checkpoints, copied, interrupted, killed_once, weights

from search.cli.main import main
from search.distributed.connect import connected
from search.distributed.jobs import LongJob, _wait_for_failure
from search.pipeline.network_folder import FAILED, read_failure, store_failure
from search.utils.resources import Workers

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("heard")]

NETWORKS = {"full", "60"}
OPTIONS = ["--retrain.epochs", "3", "--retrain.budgets", "[60%]"]
SIDE_BY_SIDE = [*OPTIONS, "--retrain.workers", "2"]


@pytest.fixture(scope="module")
def alone(searched, tmp_path_factory):
    """The run, retrained by one process."""
    run = copied(searched, tmp_path_factory.mktemp("alone"))
    assert main(["retrain", str(searched), "--run", str(run), *OPTIONS]) == 0
    return run


def equal(run, other):
    mine, theirs = weights(run), weights(other)
    assert mine.keys() == theirs.keys() == NETWORKS
    for name, tensors in mine.items():
        assert all(tensor.equal(theirs[name][key]) for key, tensor in tensors.items())


def test_networks_retrained_side_by_side_are_those_of_one_process(searched, alone, run, capsys):
    assert main(["retrain", str(searched), "--run", str(run), *SIDE_BY_SIDE]) == 0
    equal(run, alone)
    said = capsys.readouterr()
    assert said.err == ""
    assert "2 of 2" in said.out
    assert "60%" in said.out


def test_networks_without_a_place_wait_and_it_is_said(searched, alone, run, capsys):
    all_cores = ["--retrain.cpus_per_worker", str(os.cpu_count())]
    assert main(["retrain", str(searched), "--run", str(run), *SIDE_BY_SIDE, *all_cores]) == 0
    said = capsys.readouterr().out
    assert "1 of 2 workers fit on the cluster's nodes" in said
    assert "the others are not started" in said
    assert "2 of 2" in said
    equal(run, alone)


def test_a_network_that_fails_is_named_and_the_others_are_done(searched, alone, run, capsys):
    place = run / "retrain" / "main" / "60"
    place.mkdir(parents=True)
    # Stands where the checkpoint is to go.
    (place / "checkpoint.pt" / "x").mkdir(parents=True)
    words = ["retrain", str(searched), "--run", str(run), *SIDE_BY_SIDE]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert error.startswith("tokennas: 1 of 2 networks could not be retrained (60%: ")
    assert error.count("\n") == 1
    assert weights(run).keys() == NETWORKS - {"60"}
    reason = read_failure(place)
    assert reason is not None
    assert reason in error
    assert main(["report", str(searched), "--run", str(run)]) == 0
    page = (run / "report" / "main" / "report.html").read_text()
    assert "60 could not be retrained" in page
    shutil.rmtree(place / "checkpoint.pt")
    assert main(words) == 0
    assert not (place / FAILED).exists()
    equal(run, alone)


def test_a_process_that_is_killed_is_started_again_and_goes_on(searched, alone, run):
    with killed_once("run_in_folder", run) as killed:
        words = [*SIDE_BY_SIDE, "--retrain.save_minutes", "0"]
        assert main(["retrain", str(searched), "--run", str(run), *words]) == 0
    assert killed
    equal(run, alone)


def test_why_a_network_is_not_there_is_told_and_noted(tmp_path):
    import ray  # noqa: PLC0415

    def raises():
        raise ValueError("no such weights")

    def dies():
        os._exit(1)

    job = LongJob("60", raises, raises, partial(store_failure, tmp_path), lambda: 0, 3)
    with connected(Workers(1)):
        for work, words in (
            (raises, "ValueError: no such weights"),
            (dies, "its process died"),
        ):
            ref = ray.remote(work).options(max_retries=0).remote()
            reason = _wait_for_failure(ref, job)
            assert reason.startswith(words)
            assert "\n" not in reason
            assert read_failure(tmp_path) == reason


def test_ctrl_c_leaves_checkpoints_and_the_same_command_goes_on(searched, alone, run):
    words = ["retrain", str(searched), "--run", str(run), *SIDE_BY_SIDE]
    interrupted(words, run)
    # In this process, and with a budget more: neither changes what a network becomes.
    more = ["--retrain.epochs", "3", "--retrain.budgets", "[60%, 61%]"]
    assert main(["retrain", str(searched), "--run", str(run), *more]) == 0
    equal(run, alone)


def test_ctrl_c_leaves_though_ray_cannot_cancel(searched, run, monkeypatch, capsys):
    def ctrl_c(*_):
        raise KeyboardInterrupt

    def ended(_):
        raise TypeError("the task has ended")

    monkeypatch.setattr("search.distributed.jobs._wait_for_failure", ctrl_c)
    monkeypatch.setattr("ray.cancel", ended)
    assert main(["retrain", str(searched), "--run", str(run), *SIDE_BY_SIDE]) == 130
    error = capsys.readouterr().err
    assert error == "tokennas: interrupted; the same command goes on from here\n"


def test_a_node_that_does_not_reach_the_run_is_named_before_anything_starts(
    searched, run, monkeypatch, capsys
):
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", new_token())
    hidden = ["unshare", "-m", "sh", "-c", f'mount -t tmpfs none {run} && exec "$@"', "sh"]
    with Cluster() as cluster:
        cluster.join(1)
        cluster.join(1, prefix=hidden)
        words = [*SIDE_BY_SIDE, "--search.ray.address", cluster.address]
        assert main(["retrain", str(searched), "--run", str(run), *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith("tokennas: retrain.workers: node 127.0.0.4: ")
    assert "127.0.0.3" not in error
    assert error.count("\n") == 1
    assert not checkpoints(run)
    assert [*run.glob(".probe*")] == []


def test_a_search_needs_neither_the_run_nor_the_data_on_other_nodes(searched, run, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", new_token())
    hidden = ["unshare", "-m", "sh", "-c", f'mount -t tmpfs none {run} && exec "$@"', "sh"]
    with Cluster() as cluster:
        cluster.join(2, prefix=hidden)
        words = ["--search.name", "far", "--search.workers", "2", "--search.trials", "14"]
        words += ["--search.ray.address", cluster.address]
        assert main(["search", str(searched), "--run", str(run), *words]) == 0
    assert "device: auto" in (run / "config.yaml").read_text()
    assert main(["search", str(searched), "--run", str(run), "--search.trials", "14"]) == 0
    far, near = measured(run, "far"), measured(run, "main")
    both = far.keys() & near.keys()
    assert len(both) >= 5
    assert all(far[identity] == pytest.approx(near[identity], rel=1e-5) for identity in both)


def measured(run, name):
    from search.study.storage import read_trials  # noqa: PLC0415
    from search.study.trial_format import read_metrics  # noqa: PLC0415

    return read_metrics(read_trials(run / "search" / name))
