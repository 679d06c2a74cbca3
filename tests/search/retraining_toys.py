"""Runs up to their front, and what becomes of the networks that are retrained."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from ray_cluster import children_of
from safetensors.torch import load_file
from stages_config import CONFIG

from search.cli.main import main

PATIENCE = 90


@pytest.fixture(scope="session")
def searched(tmp_path_factory):
    """The config of a run up to its front."""
    folder = tmp_path_factory.mktemp("searched")
    config = folder / "toy.yaml"
    config.write_text(CONFIG + f"run: {folder / 'run'}\nsearch: {{trials: 12}}\n")
    for command in ("train", "search"):
        assert main([command, str(config)]) == 0
    return config


@pytest.fixture
def run(searched, tmp_path):
    return copied(searched, tmp_path)


@pytest.fixture
def heard():
    """What a shell starts in the background ignores Ctrl-C, and so would all that it starts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def copied(searched, folder):
    return Path(shutil.copytree(searched.parent / "run", folder / "run"))


def weights(run):
    return {
        place.name: load_file(place / "subnet.safetensors")
        for place in (run / "retrain" / "main").iterdir()
        if (place / "arch.yaml").exists()
    }


def checkpoints(run):
    return [*run.glob("retrain/main/*/checkpoint.pt")]


@contextmanager
def killed_once(title, run):
    """Kills one of the processes of that title, once there is a checkpoint; gives those killed."""
    killed, over = [], threading.Event()

    def kill():
        while not killed and not over.wait(0.02):
            for pid in children_of(os.getpid()) if checkpoints(run) else ():
                if title in _title(pid):
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)
                    break

    killing = threading.Thread(target=kill)
    killing.start()
    try:
        yield killed
    finally:
        over.set()
        killing.join()


def _title(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def interrupted(words, run, **environ):
    """A command that Ctrl-C ends, once there is a checkpoint; gives those that it leaves."""
    process = subprocess.Popen(
        [sys.executable, "-c", "from search.cli.main import command; command()", *words],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environ,
    )
    ends = time.monotonic() + PATIENCE
    while not checkpoints(run):
        assert time.monotonic() < ends
        assert process.poll() is None
        time.sleep(0.02)
    began = time.time()
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=30)
    assert (process.returncode, time.time() - began < 10) == (130, True), error
    assert error == "tokennas: interrupted; the same command goes on from here\n"
    left = [path for path in checkpoints(run) if not path.with_name("arch.yaml").exists()]
    assert all(path.stat().st_mtime >= began for path in left)
    return left
