"""Toy runs: commands started as a shell starts them, and what they leave."""

import os
import shutil
import subprocess
import sys
import time

from search.study.storage import JOURNAL, read_trials

CONFIG = """
backbone:
  model: vit_tiny_patch16_224
  args: {img_size: 16, patch_size: 4, embed_dim: 16, depth: 4, num_heads: 2}
data: {batch: 16, workers: 0, train_limit: 220, test_limit: 60, search_share: 0.3}
space:
  pool: {kinds: [avg2d, conv2d], grids: [3, 2], max_pools: 1}
  share: {max_run: 3}
  skip: {ratios: [0.25, 0.5, 0.75], selectors: [map, cls], max_run: 2}
supernet: {epochs: 14, random_archs: 1, save_minutes: 60, ema: 0.9}
search: {trials: 12, budget: macs=80%}
retrain: {epochs: 14, save_minutes: 60, full: false, budgets: [80%], baselines: false}
"""
COMMAND = [sys.executable, "-c", "from search.cli.main import command; command()"]
PATIENCE = 180

SUPERNET = "supernet/supernet.safetensors"
SUBNET = "retrain/main/80/subnet.safetensors"
# The stage that leaves each of them, and its command.
STAGES = {"train": SUPERNET, "retrain": SUBNET}


def write_config(folder):
    file = folder / "toy.yaml"
    file.write_text(CONFIG)
    return file


def start(*words, before=(), environ=None):
    """A command in a session of its own, where Ctrl-C reaches all that it starts."""
    return subprocess.Popen(
        [*before, *COMMAND, *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | (environ or {}),
    )


def ran(*words, **options):
    """A command that must succeed."""
    process = start(*words, **options)
    out, error = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, error
    return out


def last_line(error):
    """What a command said at the end, where it may not show a traceback."""
    assert "Traceback" not in error, error
    return error.splitlines()[-1] if error else ""


def wait_until(reached, process):
    """Wait for something that a process does."""
    ends = time.monotonic() + PATIENCE
    while not reached():
        assert time.monotonic() < ends
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)


def epochs_done(folder):
    """Finished epochs, as the log says."""
    log = folder / "log.jsonl"
    return len(log.read_text().splitlines()) if log.exists() else 0


def identities(run):
    """Of the evaluations that a search has stored."""
    search = run / "search" / "main"
    if not (search / JOURNAL).exists():
        return []
    return [trial.user_attrs.get("identity") for trial in read_trials(search)]


def copied(run, to, *without):
    """A run's folder, without some stages."""
    shutil.copytree(run, to, ignore=lambda at, _: without if at == str(run) else ())
    return to


def half_written(run):
    """Files that were begun and never took their place."""
    return [path for path in run.rglob("*") if path.name.endswith(".part")]
