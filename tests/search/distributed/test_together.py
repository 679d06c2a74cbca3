"""Retraining a network in several processes, data parallel, through Ray Train.

On two nodes and on one, undisturbed and not, it becomes the same network.
"""

import io
import tempfile
from contextlib import redirect_stderr
from pathlib import Path

import pytest
from ray_cluster import Cluster, new_token
from retraining_toys import copied, interrupted, killed_once, weights

from search.cli.main import main
from search.cli.parse import parse_call
from search.distributed.train_group import describe_deaths
from search.pipeline.context import RunContext
from search.pipeline.network_folder import read_failure
from search.pipeline.retrain import retrain_rank
from search.utils.file_lock import FolderLock
from space import InputError
from space.arch_file import load_arch_file
from space.utils.signals import ProcessLostError

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("heard")]

# Small steps, and much of a recipe: EMA, selectors that learn, a teacher.
RECIPE = ["--retrain.epochs", "3", "--retrain.ema", "0.9", "--retrain.full", "false"]
OPTIONS = [*RECIPE, "--retrain.budgets", "[60%]", "--retrain.save_minutes", "0"]
TOGETHER = [*OPTIONS, "--retrain.workers", "1", "--retrain.processes", "2"]


def retrained(searched, run, *words):
    return main(["retrain", str(searched), "--run", str(run), *words])


@pytest.fixture(scope="module")
def together(searched, tmp_path_factory):
    """The run, with one of two networks retrained on two nodes by a process each.

    The other one fails, which is noted beside the run.
    """
    run, token = copied(searched, tmp_path_factory.mktemp("together")), new_token()
    # Stands where the checkpoint is to go.
    (run / "retrain" / "main" / "full" / "checkpoint.pt" / "x").mkdir(parents=True)
    error = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, Cluster(token=token) as cluster:
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", token)
        for _ in range(2):
            cluster.join(1)
        words = [*TOGETHER, "--retrain.full", "true", "--search.ray.address", cluster.address]
        with redirect_stderr(error):
            assert retrained(searched, run, *words) == 2
    run.with_name("error").write_text(error.getvalue())
    return run


def equal(run, other):
    mine, theirs = weights(run)["60"], weights(other)["60"]
    assert mine.keys() == theirs.keys()
    return all(tensor.equal(theirs[key]) for key, tensor in mine.items())


def test_two_processes_train_like_one_with_their_batches_joined(searched, together, run):
    # Two batches of a step are those that two processes have.
    assert retrained(searched, run, *OPTIONS, "--retrain.accumulate", "2") == 0
    mine, theirs = weights(run)["60"], weights(together)["60"]
    assert mine.keys() == theirs.keys()
    for key, tensor in mine.items():
        assert tensor.sub(theirs[key]).abs().max() <= 1e-4 * tensor.abs().max().clamp(min=1e-2), key
    assert retrained(searched, copied(searched, run / "x"), *OPTIONS) == 0
    assert not equal(run / "x" / "run", together)


def test_a_process_that_is_killed_ends_the_others_and_all_go_on(searched, together, run):
    with killed_once("RayTrainWorker", run) as killed:
        assert retrained(searched, run, *TOGETHER) == 0
    assert killed
    assert equal(run, together)


def test_ctrl_c_leaves_a_checkpoint_of_the_last_step(searched, run):
    words = [*TOGETHER, "--retrain.epochs", "1000", "--retrain.save_minutes", "60"]
    words = ["retrain", str(searched), "--run", str(run), *words]
    # Short, for Ray's sockets. Of processes that had to be killed something is left in it.
    with tempfile.TemporaryDirectory(prefix="tn-", ignore_cleanup_errors=True) as folder:
        assert interrupted(words, run, TMPDIR=folder)
        assert [*Path(folder).glob("tokennas-*")] == []
    assert not (run / "retrain" / "main" / "60" / "arch.yaml").exists()


def test_a_folder_that_another_command_has_is_left_alone(searched, run, monkeypatch):
    monkeypatch.setattr("search.utils.file_lock.PATIENCE_SECONDS", 0.1)
    call = parse_call(["retrain", str(searched), "--run", str(run)])
    place = run / "retrain" / "main" / "60"
    place.mkdir(parents=True)
    with FolderLock(place):
        before = [*place.iterdir()]
        with pytest.raises(InputError, match="another command is at work here"):
            retrain_rank(RunContext(call.config, call.file), None, place)
        assert [*place.iterdir()] == before


def test_why_processes_died_is_told_in_a_line():
    from ray.train import ControllerError, WorkerGroupError  # noqa: PLC0415

    class Unhealthy(Exception):
        health_check_failure = RuntimeError("a page\nabout memory")

    lost = ProcessLostError("another process of the training has ended")
    failed = WorkerGroupError("a page", {0: lost, 1: Unhealthy("more pages")})
    assert describe_deaths(failed) == "a page about memory"
    assert describe_deaths(ControllerError(ValueError("no\nroom"))) == "no room"
    assert describe_deaths(ConnectionError("gone")) == "gone"


def test_a_network_that_fails_is_named_once_and_the_other_is_done(together):
    place, error = together / "retrain" / "main" / "full", together.with_name("error").read_text()
    assert error.startswith("tokennas: 1 of 2 networks could not be retrained (full: ")
    assert str(place / "checkpoint.pt") in error
    assert error.count("\n") == 1
    assert str(read_failure(place)) in error
    assert load_arch_file(place.with_name("60") / "arch.yaml").origin["processes"] == 2
    assert weights(together).keys() == {"60"}
