"""The lock of a results folder, for one writer; the kernel frees it when the process ends."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from pathlib import Path
from typing import IO, Any

from space.utils.atomic import writing
from space.utils.errors import InputError

NAME = "lock"
# A killed command's writer may outlive it by seconds.
PATIENCE_SECONDS = 10.0


class FolderLock:
    """The lock of a folder, held by one process from construction to `release`.

    Args:
        folder: The folder to lock.
        driver: PID of the command that owns the lock; None for this process.

    Raises:
        InputError: Another command holds the lock, or the file system has no locks.
    """

    def __init__(self, folder: Path, driver: int | None = None) -> None:
        driver = os.getpid() if driver is None else driver
        path = folder / NAME
        with writing(path):
            # Opening must not truncate: until it is locked, the content is another process's.
            self._file: IO[str] | None = path.open("a+", encoding="utf-8")
        with writing(path, "locked"):
            locked = _acquire(self._file, driver)
        if not locked:
            owner = _read_owner(self._file)
            name = f"process {owner['pid']} on {owner['host']}" if owner else "just started"
            self._file.close()
            raise InputError(f"{folder}: another command is at work here ({name})")
        with writing(path):
            self._file.truncate(0)
            json.dump({"pid": driver, "host": socket.gethostname()}, self._file)
            self._file.flush()
        # A forked child (a data loader's worker) would hold the lock after this process has died.
        os.register_at_fork(after_in_child=self.release)

    def release(self) -> None:
        """Free the lock, unless it is free."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> FolderLock:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def _acquire(file: IO[str], driver: int) -> bool:
    """Return whether the lock was acquired; wait for child processes of an owner that has ended."""
    end = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not _is_abandoned(_read_owner(file), driver) or time.monotonic() > end:
                return False
            time.sleep(0.1)
        else:
            return True


def _is_abandoned(owner: dict[str, Any] | None, driver: int) -> bool:
    """Return whether the lock's owner has ended, or is an earlier command of this process."""
    if owner is None or owner["host"] != socket.gethostname():
        return False
    return owner["pid"] == driver or not is_alive(owner["pid"])


def is_alive(pid: int) -> bool:
    """Return whether this host has a process of that PID."""
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
