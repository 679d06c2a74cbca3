"""The first seconds of a command: what it waits for, and Ctrl-C in them."""

import json
import subprocess
import sys
from dataclasses import asdict

import pytest

from search.study.status import STATUS_FILE, Status

SLOW = ("numpy", "torch", "torchvision", "timm", "optuna", "ray", "matplotlib")

LOADED = f"""
import sys
from search.cli.main import main
for line in sys.argv[1:]:
    try:
        assert main(line.split()) == 0
    except SystemExit as end:
        assert not end.code
print(*(name for name in {SLOW} if name in sys.modules), file=sys.stderr)
"""

INTERRUPTED = """
import os, signal, sys
class Moment:
    def find_spec(name, *_):
        if name == moment:
            os.kill(os.getpid(), signal.SIGINT)
moment = sys.argv.pop(1)
signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs of a shell ignore it
sys.meta_path.insert(0, Moment)
from search.cli.main import command
command()
"""


HANGING = """
import atexit, time
from search.cli import main as module
def main():
    atexit.register(lambda: (print("hangs", flush=True), time.sleep(60)))
    return 3
module.main = main
module.command()
"""


def ran(code, *words):
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, check=False
    )


def test_help_waits_for_nothing_slow():
    found = ran(LOADED, "", "--version", "train --help", "search --help")
    assert (found.returncode, found.stderr) == (0, "\n")
    assert found.stdout.count("tokennas train CONFIG") == 1
    assert "--search.trials" in found.stdout


def test_status_waits_for_nothing_slow(tmp_path):
    config, folder = tmp_path / "run.yaml", tmp_path / "runs" / "search" / "main"
    config.write_text(f"run: {tmp_path / 'runs'}\nsupernet: {{optimizer: adamw}}\n")
    status = Status(1, "elsewhere", 0.0, 5, 8, 0, 1.5, "top1", 0.5, None, 0, None)
    folder.mkdir(parents=True)
    (folder / STATUS_FILE).write_text(json.dumps(asdict(status)))
    found = ran(LOADED, f"status {config}")
    assert (found.returncode, found.stderr) == (0, "\n")
    assert "5 of 8 evaluations" in found.stdout


@pytest.mark.parametrize(
    "moment",
    [
        "numpy",
        "jsonargparse",
        "torch",
        pytest.param("torch.nn.functional", marks=pytest.mark.cluster),
        pytest.param("timm.models", marks=pytest.mark.cluster),
        pytest.param("sklearn", marks=pytest.mark.cluster),
    ],
)
def test_ctrl_c_while_modules_load_is_one_line(tmp_path, moment):
    config = tmp_path / "run.yaml"
    config.write_text(f"run: {tmp_path / 'runs'}\n")
    found = ran(INTERRUPTED, moment, "inspect", config)
    assert found.stderr == "tokennas: interrupted; the same command goes on from here\n"
    assert (found.returncode, found.stdout) == (130, "")


def test_a_command_that_hangs_on_leaving_can_be_ended():
    words = [sys.executable, "-c", HANGING]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "hangs\n"
        process.terminate()
        try:
            assert process.wait(timeout=20) == 3
        finally:
            process.kill()


TWICE = """
import signal
from search.cli import main as module
def signal_again(*_):
    signal.signal = set_handler
    raise KeyboardInterrupt
set_handler, signal.signal = signal.signal, signal_again
module.main = lambda: 130
module.command()
"""


def test_a_second_ctrl_c_just_after_the_first_was_told_changes_nothing():
    found = ran(TWICE)
    assert (found.returncode, found.stdout, found.stderr) == (130, "", "")
