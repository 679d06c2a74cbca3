"""The batch scripts for SLURM, run for real; SLURM itself is played by a few scripts."""

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SCRIPTS = HERE.parents[1] / "deploy" / "slurm"
SECONDS = 120
TOY = """
backbone:
  model: vit_tiny_patch16_224
  args: {img_size: 16, patch_size: 4, embed_dim: 16, depth: 3, num_heads: 2}
data: {batch: 16, workers: 0, train_limit: 120, test_limit: 40, search_share: 0.3}
space: {pool: {kinds: [avg2d], grids: [2], max_pools: 1}}
supernet: {epochs: 40, full_epochs: 1, random_archs: 1}
"""

pytestmark = pytest.mark.cluster


class Job:
    """A job of some nodes that this machine plays."""

    def __init__(self, folder, nodes):
        self.folder, self.number = folder, str(free_port() - 20000)
        self.state, programs = folder / "slurm", folder / "bin"
        self.log = folder / "job.log"
        for each in (self.state, programs):
            each.mkdir()
        for name, source in (
            ("srun", "fake_slurm.py"),
            ("scancel", "fake_slurm.py"),
            ("scontrol", "fake_slurm.py"),
            ("tokennas", "toy_driver.py"),
        ):
            text = (HERE / source).read_text()
            (programs / name).write_text(f"#!{sys.executable}\n{text}")
            (programs / name).chmod(0o755)
        paths = [str(programs), str(Path(sys.executable).parent), os.environ["PATH"]]
        self.environ = {
            **os.environ,
            "PATH": ":".join(paths),
            "OMP_NUM_THREADS": "1",
            "FAKE_SLURM": str(self.state),
            "SLURM_JOB_ID": self.number,
            "SLURM_JOB_NODELIST": f"n[0-{nodes - 1}]",
            "SLURM_JOB_NUM_NODES": str(nodes),
            "SLURM_CPUS_PER_TASK": "1",
            "SLURMD_NODENAME": "n0",
        }

    def start(self, script, *words, **environ):
        command = ["bash", str(SCRIPTS / script), *words]
        with self.log.open("a") as log:
            self.batch = subprocess.Popen(
                command, cwd=self.folder, env=self.environ | environ, stdout=log, stderr=log
            )

    def ended(self):
        """The exit code of the script."""
        return self.batch.wait(timeout=SECONDS)

    def wait_for(self, holds):
        end = time.monotonic() + SECONDS
        while not holds():
            assert time.monotonic() < end, self.log.read_text()
            time.sleep(0.1)

    def found(self):
        file = self.folder / "found.json"
        self.wait_for(file.exists)
        return json.loads(file.read_text())

    @property
    def requeued(self):
        return (self.state / "requeued").exists()

    def left(self):
        """Processes of this job that are alive: their environment has its number."""
        mark, found = f"SLURM_JOB_ID={self.number}\0".encode(), []
        for path in Path("/proc").glob("[0-9]*/environ"):
            try:
                if mark in path.read_bytes():
                    found.append(int(path.parent.name))
            except OSError:
                continue
        return found


def free_port():
    """A port that the scripts' rule gives to some job."""
    for port in random.sample(range(20000, 30000), 100):
        with socket.socket() as listener:
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no port is free")


@pytest.fixture
def job(tmp_path, request):
    job = Job(tmp_path, getattr(request, "param", 1))
    yield job
    for process in job.left():
        os.kill(process, signal.SIGKILL)
    for folder in Path("/tmp").glob(f"ray-{job.number}-*"):
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize("job", [2], indirect=True)
def test_a_search_has_a_ray_of_all_nodes_and_leaves_nothing_behind(job):
    # Where it is set to what is too long for Ray's sockets, something else is taken.
    long = job.folder / ("long" * 20)
    long.mkdir()
    job.start("search.sbatch", "a.yaml", "--search.workers", "2", TMPDIR=str(long))
    assert job.ended() == 0, job.log.read_text()
    found = job.found()
    assert found["words"][:4] == ["search", "a.yaml", "--search.workers", "2"]
    assert found["nodes"] == ["n0", "n1"]
    assert (found["length of token"], found["token on command lines"]) == (64, 0)
    assert not job.requeued
    job.wait_for(lambda: not job.left())
    assert not list(Path("/tmp").glob(f"ray-{job.number}-*"))


@pytest.mark.parametrize(("told", "again"), [("SIGUSR1", True), ("SIGTERM", False)])
def test_a_search_ends_in_order_and_runs_again_when_its_time_was_up(job, told, again):
    job.start("search.sbatch", "a.yaml", "--wait", STAGE="retrain")
    assert job.found()["words"][0] == "retrain"
    job.batch.send_signal(signal.Signals[told])
    assert job.ended() == 143, job.log.read_text()
    assert job.requeued == again
    job.wait_for(lambda: not job.left())


@pytest.mark.parametrize("pre_empted", [False, True])
def test_what_fails_runs_again_only_where_slurm_pre_empted_it(job, pre_empted):
    if pre_empted:
        (job.state / "pre-empted").touch()
    job.start("search.sbatch", "a.yaml", TOY_CODE="2")
    assert job.ended() == 2, job.log.read_text()
    assert job.requeued == pre_empted


@pytest.mark.parametrize("script", ["search.sbatch", "train.sbatch"])
def test_without_a_config_nothing_starts(job, script):
    job.start(script)
    assert job.ended() == 1
    assert "the config is missing" in job.log.read_text()
    assert job.left() == []


@pytest.mark.parametrize("job", [2], indirect=True)
def test_training_whose_time_was_up_goes_on_on_two_nodes(job):
    (job.folder / "toy.yaml").write_text(TOY)
    stage = job.folder / "runs" / "toy" / "supernet"

    def epochs():
        log = stage / "log.jsonl"
        return [json.loads(line)["epoch"] for line in log.open()] if log.exists() else []

    job.start("train.sbatch", "toy.yaml")
    job.wait_for(lambda: len(epochs()) > 2)
    job.batch.send_signal(signal.SIGUSR1)
    assert job.ended() != 0, job.log.read_text()
    assert job.requeued
    assert not (stage / "supernet.safetensors").exists()
    job.wait_for(lambda: not job.left())
    job.start("train.sbatch", "toy.yaml")
    assert job.ended() == 0, job.log.read_text()
    assert (stage / "supernet.safetensors").exists()
    assert epochs() == list(range(40))
