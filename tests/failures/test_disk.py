"""Disks that fill up, or may only be read, while a command writes."""

import hashlib
import random
import re
import shutil
import time

import pytest
from disks import Disk
from toy_runs import PATIENCE, STAGES, half_written, identities, last_line, ran, start

from supernet.training.checkpoint import load_checkpoint, previous_path

pytestmark = pytest.mark.cluster

ROOMY = 1 << 28
WHY = {"full": "No space left on device", "read-only": "Read-only file system"}
# What each command makes, and so must not find.
MAKES = {
    "train": ("supernet", "search", "retrain"),
    "search": ("search", "retrain"),
    "export": (),
    "retrain": ("retrain",),
    "report": (),
}


@pytest.fixture
def disk(tmp_path):
    found = Disk(tmp_path / "disk", ROOMY)
    yield found
    found.close()


def refused(disk, why, *words):
    """A command that cannot write: one line, which names the file and says why."""
    process = start(*words, "--run", disk.folder, before=disk.before)
    _, error = process.communicate(timeout=PATIENCE)
    assert process.returncode == 2, error
    line = last_line(error)
    found = rf"{re.escape(str(disk.folder))}\S*: cannot be (written|made): {WHY[why]}"
    named = (
        rf"1 of 1 networks could not be retrained \(80%: {found}\); the same command tries again"
    )
    assert re.fullmatch(f"tokennas: ({found}|{named})", line), line
    assert half_written(disk.path) == []


def went_on(disk, *words):
    """The same command once there is space; the seconds until it has ended."""
    disk.remount(f"size={ROOMY}")
    began = time.monotonic()
    ran(*words, "--run", disk.folder, before=disk.before)
    return time.monotonic() - began


def leave_room(disk, most, rng):
    """Leave some room, at random."""
    disk.remount(f"size={disk.used() + int(rng.uniform(0, most))}")


def digests(folder):
    """Of every file, apart from the config and locks, which name the folder and the process."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and path != folder / "config.yaml" and path.name != "lock"
    }


@pytest.mark.parametrize("stage", STAGES)
def test_a_training_that_fills_the_disk_goes_on_bit_for_bit(disk, toy, ledger, stage):
    rng, (config, whole), times = random.Random(stage), toy, ledger.times(10)
    disk.fill(whole, MAKES[stage])
    checkpoint = (disk.path / STAGES[stage]).with_name("checkpoint.pt")
    size = (whole / STAGES[stage]).with_name("checkpoint.pt").stat().st_size
    for count in range(times):
        # Two are kept and a third lies beside while it is written.
        leave_room(disk, 3 * size if count == 0 else size, rng)
        refused(disk, "full", stage, config)
        for path in (checkpoint, previous_path(checkpoint)):
            assert load_checkpoint(path).notes == []
    seconds = went_on(disk, stage, config)
    assert (disk.path / STAGES[stage]).read_bytes() == (whole / STAGES[stage]).read_bytes()
    told = "the file and why, exit code 2; bit-equal once there is space"
    ledger.add(50, f"disk full: {stage}", times, seconds=seconds, told=told)


@pytest.mark.parametrize("command", ["export", "report"])
def test_files_are_whole_or_not_there(disk, toy, ledger, command):
    rng, (config, whole), times = random.Random(command), toy, ledger.times(10)
    disk.fill(whole, MAKES[command])
    words = (command, config, *(["--format", "safetensors"] if command == "export" else []))
    before, taken = digests(disk.path), disk.used()
    went_on(disk, *words)
    after, needed, lost = digests(disk.path), disk.used() - taken, 0
    for _ in range(times):
        shutil.rmtree(disk.path / command)
        leave_room(disk, needed, rng)
        refused(disk, "full", *words)
        left = digests(disk.path)
        lost += len(before.items() - left.items())
        assert left.items() <= after.items()
        seconds = went_on(disk, *words)
        assert digests(disk.path) == after
    told = "the file and why, exit code 2"
    ledger.add(51, f"disk full: {command}", times, lost=lost, seconds=seconds, told=told)


def test_a_search_keeps_what_it_stored(disk, toy, ledger):
    rng, (config, whole), times = random.Random("search"), toy, ledger.times(10)
    disk.fill(whole, MAKES["search"])
    kept, lost = [], 0
    for _ in range(times):
        leave_room(disk, 1 << 17, rng)
        refused(disk, "full", "search", config, "--search.trials", 100_000)
        left = identities(disk.path)
        lost += len(set(kept) - set(left))
        kept = left
    assert len(kept) > 0
    seconds = went_on(disk, "search", config, "--search.trials", len(kept) + 5)
    after = identities(disk.path)
    lost += len(set(kept) - set(after))
    assert len(after) == len(kept) + 5
    doubled, told = len(after) - len(set(after)), "the file and why, exit code 2"
    ledger.add(
        52, "disk full: search", times, lost=lost, doubled=doubled, seconds=seconds, told=told
    )


@pytest.mark.parametrize("command", MAKES)
def test_a_folder_that_may_only_be_read_is_one_line(disk, toy, ledger, command):
    config, whole = toy
    disk.fill(whole, MAKES[command])
    before = digests(disk.path)
    disk.remount("ro")
    refused(disk, "read-only", command, config)
    assert digests(disk.path) == before
    ledger.add(55, f"read-only run folder: {command}", 1, told="the file and why, exit code 2")
