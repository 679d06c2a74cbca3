"""One writer for a folder."""

import errno
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from stored import search

from search.utils.file_lock import FolderLock, is_alive
from space import InputError

HOLD = """
import os, sys, time
from pathlib import Path
from search.utils.file_lock import FolderLock
lock = FolderLock(Path(sys.argv[1]), os.getpid())
if sys.argv[2] != "fork" or os.fork():
    print("held", flush=True)
time.sleep(60)
"""


def holder(folder, mode="plain"):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder), mode],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_search_on_a_folder_is_refused_by_name_of_the_first(tmp_path):
    first = holder(tmp_path)
    try:
        with pytest.raises(InputError, match=rf"another command .* \(process {first.pid} on "):
            search(tmp_path)
    finally:
        first.kill()
        first.wait()
    assert search(tmp_path)[0].evaluations == 12


def test_the_lock_ends_with_its_process_though_a_child_lives_on(tmp_path):
    first = holder(tmp_path, "fork")
    first.kill()
    first.wait()
    try:
        FolderLock(tmp_path, os.getpid()).release()
    finally:
        os.killpg(first.pid, signal.SIGKILL)


def test_a_lock_whose_search_has_ended_is_waited_for(tmp_path):
    """The study's process may outlive the driver by seconds."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    first = holder(tmp_path)
    owner = json.loads((tmp_path / "lock").read_text())
    assert owner["pid"] == first.pid
    (tmp_path / "lock").write_text(json.dumps(owner | {"pid": ended.pid}))
    killer = subprocess.Popen(["sh", "-c", f"sleep 0.7; kill -9 {first.pid}"])
    started = time.monotonic()
    FolderLock(tmp_path, os.getpid()).release()
    assert time.monotonic() - started > 0.3
    killer.wait()
    first.wait()


def test_the_lock_is_free_after_a_search_and_after_one_that_failed(tmp_path):
    with pytest.raises(InputError, match="gives no 'top1'"):
        search(tmp_path, trials=9, evaluate=lambda arch: {"wrong": 1.0})
    FolderLock(tmp_path, os.getpid()).release()
    search(tmp_path, trials=3)
    FolderLock(tmp_path, os.getpid()).release()


def test_a_file_system_without_locks_is_named_and_nobody_is_waited_for(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("search.utils.file_lock.fcntl.flock", refuse)
    with pytest.raises(InputError, match=r"lock: cannot be locked: Function not implemented$"):
        FolderLock(tmp_path)


def test_a_number_that_no_process_can_have_is_of_no_process(tmp_path):
    """A damaged file may hold any number."""
    assert is_alive(os.getpid())
    assert is_alive(1)  # another user's, for most users
    assert not is_alive(10**30)
