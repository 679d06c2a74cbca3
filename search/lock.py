"""One writer for a search's folder: a lock that the kernel frees when its process ends."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from pathlib import Path
from typing import IO

from space.errors import InputError

NAME = "lock"


class FolderLock:
    """Held by the process that writes a search's results, from its making to `release`.

    Args:
        folder: what is locked.

    Raises:
        InputError: another process holds it; the message names that process and its host.
    """

    def __init__(self, folder: Path) -> None:
        path = folder / NAME
        try:
            # Never truncated on opening: until it is locked, what it says is the other process's.
            self._file: IO[str] | None = path.open("a+", encoding="utf-8")
        except OSError as error:
            raise InputError(f"{path}: cannot be written: {error.strerror}") from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            owner = _owner(self._file)
            self._file.close()
            raise InputError(f"{folder}: another search is running here ({owner})") from None
        self._file.truncate(0)
        json.dump({"pid": os.getpid(), "host": socket.gethostname()}, self._file)
        self._file.flush()
        # A forked child (a loader's worker) would keep the lock after this process has died.
        os.register_at_fork(after_in_child=self._forget)

    def release(self) -> None:
        """Free the lock; calling it again does nothing."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _forget(self) -> None:
        if self._file is not None:
            os.close(self._file.fileno())
            self._file = None


def _owner(file: IO[str]) -> str:
    file.seek(0)
    try:
        owner = json.load(file)
        return f"process {int(owner['pid'])} on {owner['host']}"
    except (ValueError, KeyError, TypeError):
        return "a process that has just started"
