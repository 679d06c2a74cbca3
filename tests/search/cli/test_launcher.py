"""Processes that were launched together train one supernet."""

import os
import re
import subprocess
import sys

import pytest
from PIL import Image
from safetensors.torch import load_file
from stages_config import CONFIG

from search.cli.main import main
from search.cli.parse import parse_call
from search.pipeline.context import RunContext
from search.utils.launcher import LauncherEnvironment, first_host
from space import InputError

TORCHRUN = {"RANK": "1", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "MASTER_PORT": "29500"}
SLURM = {
    "SLURM_PROCID": "5",
    "SLURM_STEP_NUM_TASKS": "8",
    "SLURM_LOCALID": "1",
    "SLURM_STEP_NODELIST": "gpu[07-08,12]",
    "SLURM_JOB_ID": "123456",
}


def test_torchruns_environment():
    given = TORCHRUN | {"MASTER_ADDR": "head"}
    assert LauncherEnvironment.read(given) == LauncherEnvironment(1, 4, 1, "head:29500")


def test_slurms_environment():
    assert LauncherEnvironment.read(SLURM) == LauncherEnvironment(5, 8, 1, "gpu07:23456")
    own = SLURM | {"MASTER_ADDR": "head", "MASTER_PORT": "4000"}
    assert LauncherEnvironment.read(own) == LauncherEnvironment(5, 8, 1, "head:4000")


ALONE = [{}, {"WORLD_SIZE": "1"}, {"SLURM_STEP_NUM_TASKS": "1"}, {"WORLD_SIZE": "many"}]


@pytest.mark.parametrize("environ", ALONE)
def test_a_process_alone(environ):
    assert LauncherEnvironment.read(environ) is None


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        (TORCHRUN, "MASTER_ADDR and MASTER_PORT not set"),
        ({"WORLD_SIZE": "2"}, "RANK, LOCAL_RANK not set"),
        (SLURM | {"SLURM_PROCID": ""}, "SLURM_PROCID not set"),
    ],
)
def test_half_an_environment_is_refused(environ, words):
    with pytest.raises(InputError, match=words):
        LauncherEnvironment.read(environ)


def test_half_an_environment_is_one_line_of_the_command(monkeypatch, tmp_path, capsys):
    (tmp_path / "toy.yaml").write_text(CONFIG)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("RANK", raising=False)
    assert main(["train", str(tmp_path / "toy.yaml")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("tokennas: RANK, LOCAL_RANK not set")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("gpu07", "gpu07"),
        ("a,b", "a"),
        ("gpu[07-09,12],x", "gpu07"),
        ("n[3,5]", "n3"),
        ("rack2-n[11-12]", "rack2-n11"),
        ("", ""),
    ],
)
def test_the_first_host_of_slurms_list(nodes, first):
    assert first_host(nodes) == first


def launched(folder, count, *argv):
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(count)]
    command += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0"]
    command += ["--local-addr", "127.0.0.1", "-m", "--", "search", *argv]
    return subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.cluster
def test_torchrun_trains_one_supernet_and_one_process_speaks(tmp_path):
    (tmp_path / "toy.yaml").write_text(CONFIG)
    # Behind --, since torchrun would take --run for an option of its own, cut short.
    words = ["train", "toy.yaml", "--run", "here"]
    done = launched(tmp_path, 2, *words)
    assert done.returncode == 0, done.stderr
    stage = tmp_path / "here" / "supernet"
    assert len((stage / "log.jsonl").read_text().splitlines()) == 1
    assert done.stderr.count("images/s") == 1
    weights = load_file(stage / "supernet.safetensors")
    stamp = (stage / "supernet.safetensors").stat().st_mtime_ns
    again = launched(tmp_path, 2, *words)
    assert again.returncode == 0, again.stderr
    assert (stage / "supernet.safetensors").stat().st_mtime_ns == stamp
    assert weights


@pytest.mark.cluster
@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (
            ["train", "toy.yaml", "--data.batch", "1000"],
            "tokennas: data.batch: 1000 is more than the ",
        ),
        (["train", "toy.yaml", "--supernet.lrr", "1"], "tokennas: unknown option --supernet.lrr"),
        (["run", "toy.yaml"], "tokennas: tokennas run is for one process;"),
    ],
)
def test_what_is_wrong_is_said_once(tmp_path, argv, words):
    (tmp_path / "toy.yaml").write_text(CONFIG)
    done = launched(tmp_path, 2, *argv)
    assert done.returncode != 0
    assert done.stderr.count(words) == 1


@pytest.mark.cluster
@pytest.mark.parametrize(("number", "process"), [(0, 0), (2, 1)])
def test_what_one_process_alone_has_met_is_told(tmp_path, monkeypatch, number, process):
    (tmp_path / "toy.yaml").write_text(CONFIG)
    for split, name in (("train", "a"), ("train", "b"), ("val", "a"), ("val", "b")):
        place = tmp_path / "images" / split / name
        place.mkdir(parents=True)
        for at in range(40):
            Image.new("RGB", (16, 16), (at, 9, 9)).save(place / f"{at:02}.png")
    options = ["--data.dataset.name", "folder", "--data.dataset.root", str(tmp_path / "images")]
    words = ["train", "toy.yaml", *options, "--data.search_share", "0.1"]
    monkeypatch.chdir(tmp_path)
    call = parse_call(words)
    RunContext(call.config, call.file).check_images()
    # It breaks unnoticed, once all have been opened. Which process reads it first follows from
    # the seed.
    broken = tmp_path / "images" / "train" / "a" / f"{number:02}.png"
    before = broken.stat()
    broken.write_bytes(b"x" * before.st_size)
    os.utime(broken, ns=(before.st_atime_ns, before.st_mtime_ns))
    done = launched(tmp_path, 2, *words)
    assert done.returncode != 0
    (said,) = [line for line in done.stderr.splitlines() if "cannot be read" in line]
    assert re.fullmatch(
        rf"tokennas: process {process} of 2: .*{re.escape(str(broken))}: image {number} of train "
        "cannot be read.*",
        said,
    )
