"""Optuna's journal file: repair after a killed writer, and storages with little memory."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock

from space.utils.errors import InputError, shown

CREATE_TRIAL = 4


def repair(path: Path) -> str | None:
    """Remove a killed writer's lock and its half-written line; only the one writer may call this.

    Returns:
        A note on the bytes that were cut off; None without any.

    Raises:
        InputError: A line other than the last ones is no journal entry.
    """
    lock = Path(f"{path}.lock")
    if lock.is_symlink():
        JournalFileSymlinkLock(str(path)).release()
    for leftover in path.parent.glob(f"{lock.name}*.rename"):
        leftover.unlink()
    if not path.exists():
        return None
    size = path.stat().st_size
    end, complete = _find_last_entry(path)
    if end < size:
        os.truncate(path, end)
    if not complete:
        with path.open("ab") as file:
            file.write(b"\n")
    return f"{path}: the last {size - end} bytes were cut off, half written" if end < size else None


def open_for_reading(path: Path) -> JournalStorage:
    """Open the journal for reading, even while another process writes to it."""
    return JournalStorage(JournalFileBackend(str(path.absolute())))


def open_for_writing(path: Path) -> JournalStorage:
    """Open the journal for adding finished trials."""
    return JournalStorage(_LightBackend(str(path.absolute())))


class _LightBackend(JournalFileBackend):
    """A backend that writes whole trials, but replays them without their large fields.

    Optuna keeps replayed trials in memory: about 20 KB each, which a writer does not need.
    """

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:  # type: ignore[override]
        heavy = ("params", "distributions", "user_attrs", "system_attrs")
        for log in super().read_logs(log_number_from):
            if log["op_code"] == CREATE_TRIAL:
                yield {key: value for key, value in log.items() if key not in heavy}
            else:
                yield log


def _find_last_entry(path: Path) -> tuple[int, bool]:
    """Find where the last valid entry ends, and whether its newline is there."""
    offset, end, complete, problem = 0, 0, True, ""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            offset += len(line)
            if _parse_entry(line) is None:
                problem = problem or f"{path}:{number}: no entry of a journal: {shown(line)}"
            elif problem:
                raise InputError(problem)
            else:
                end, complete = offset, line.endswith(b"\n")
    return end, complete


def _parse_entry(line: bytes) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return entry if isinstance(entry, dict) and "op_code" in entry else None
