"""Optuna's journal on a file: repaired where a killed writer left it, light on memory."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock

from space.utils.errors import InputError, one_line, shown

CREATE_TRIAL = 4
CHUNK = 1 << 16


def repair(path: Path) -> str | None:
    """Free what a killed writer held, and cut what it had half written; call it as the one writer.

    Returns:
        What was cut, in one line; None where nothing was.

    Raises:
        InputError: a line before the last ones is no part of a journal.
    """
    lock = Path(f"{path}.lock")
    if lock.is_symlink():
        JournalFileSymlinkLock(str(path)).release()
    for left in path.parent.glob(f"{lock.name}*.rename"):
        left.unlink()
    if not path.exists():
        return None
    size = path.stat().st_size
    end, complete = _last_entry(path)
    if end < size:
        os.truncate(path, end)
    if not complete:
        with path.open("ab") as file:
            file.write(b"\n")
    _check(path)
    return f"{path}: the last {size - end} bytes were cut off, half written" if end < size else None


def read_storage(path: Path) -> JournalStorage:
    """All that the journal says, for reading; nobody needs to be its one writer for that.

    Raises:
        InputError: it is no journal of Optuna's.
    """
    try:
        return JournalStorage(JournalFileBackend(str(path.absolute())))
    except Exception as error:
        raise InputError(f"{path}: no journal of Optuna's: {one_line(error)}") from None


def write_storage(path: Path) -> JournalStorage:
    """The journal to add finished trials to."""
    return JournalStorage(_LightBackend(str(path.absolute())))


class _LightBackend(JournalFileBackend):
    """Writes trials whole, and replays them without what takes up memory.

    Optuna replays what it writes and keeps it: some 20 KB a trial here, of which a writer that only
    adds needs nothing.
    """

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:  # type: ignore[override]
        heavy = ("params", "distributions", "user_attrs", "system_attrs")
        for log in super().read_logs(log_number_from):
            if log["op_code"] == CREATE_TRIAL:
                yield {key: value for key, value in log.items() if key not in heavy}
            else:
                yield log


def _last_entry(path: Path) -> tuple[int, bool]:
    """Where the last line that is an entry ends, and whether its newline is there."""
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        for line in _lines_backwards(file, end):
            if _entry(line) is not None:
                return end, line.endswith(b"\n")
            end -= len(line)
    return 0, True


def _lines_backwards(file: BinaryIO, end: int) -> Iterator[bytes]:
    """The lines from the last to the first, each with its newline if it has one."""
    left, step = b"", CHUNK
    while end > 0:
        size = min(step, end)
        end = file.seek(end - size)
        left, *lines = re.findall(rb"[^\n]*\n|[^\n]+", file.read(size) + left)
        yield from reversed(lines)
        # Of a line without end, more each time: joining it is not to take quadratic time.
        step = CHUNK if lines else 2 * step
    if left:
        yield left


def _check(path: Path) -> None:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if _entry(line) is None:
                raise InputError(f"{path}:{number}: no entry of a journal: {shown(line)}")


def _entry(line: bytes) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return entry if isinstance(entry, dict) and "op_code" in entry else None
