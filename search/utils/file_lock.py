"""The lock of a results folder, for one command at a time.

The process that holds it is the command's or, with Ray, the study's actor; when that process ends,
the kernel frees the lock. Its owner is the command, which messages name.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from pathlib import Path
from typing import IO, Any

from space.utils.atomic import file_errors
from space.utils.errors import InputError

LOCK_FILE = "lock"
# With Ray, the holder may outlive a killed command by seconds.
PATIENCE_SECONDS = 10.0


class FolderLock:
    """The lock of a folder, held by this process from construction to `release`.

    Args:
        folder: The folder to lock.
        owner: PID of the command that owns the lock; None for this process.

    Raises:
        InputError: Another command holds the lock, or the file system has no locks.
    """

    def __init__(self, folder: Path, owner: int | None = None) -> None:
        owner = os.getpid() if owner is None else owner
        path = folder / LOCK_FILE
        with file_errors(path):
            # Opening must not truncate: until it is locked, the content is another process's.
            self._file: IO[str] | None = path.open("a+", encoding="utf-8")
        with file_errors(path, "locked"):
            locked = _acquire(self._file, owner)
        if not locked:
            other = _read_owner(self._file)
            name = f"process {other['pid']} on {other['host']}" if other else "process unknown"
            self._file.close()
            raise InputError(f"{folder}: another command is at work here ({name})")
        with file_errors(path):
            self._file.truncate(0)
            json.dump({"pid": owner, "host": socket.gethostname()}, self._file)
            self._file.flush()
        # A forked child (a data loader's worker) would hold the lock after this process has died.
        os.register_at_fork(after_in_child=self.release)

    def release(self) -> None:
        """Release the lock; further calls do nothing."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> FolderLock:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def _acquire(file: IO[str], owner: int) -> bool:
    """Return whether the lock was acquired; wait for a holder whose command has ended."""
    end = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not _may_end_soon(_read_owner(file), owner) or time.monotonic() > end:
                return False
            time.sleep(0.1)
        else:
            return True


def _may_end_soon(other: dict[str, Any] | None, owner: int) -> bool:
    """Return whether the lock's owner has ended, or is this command, which ran before."""
    if other is None or other["host"] != socket.gethostname():
        return False
    return other["pid"] == owner or not is_alive(other["pid"])


def is_alive(pid: int) -> bool:
    """Return whether this host has a process with that PID."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another user's process
        return True
    return True


def _read_owner(file: IO[str]) -> dict[str, Any] | None:
    """Read the lock's owner; None before it is written."""
    file.seek(0)
    try:
        owner = json.load(file)
        return {"pid": int(owner["pid"]), "host": str(owner["host"])}
    except (ValueError, KeyError, TypeError):
        return None
