"""Atomic writing of files, with one-line errors."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from space.utils.errors import InputError, one_line


@contextmanager
def writing(path: str | Path, verb: str = "written") -> Iterator[None]:
    """Convert an OSError inside the context to an InputError that names the file.

    Raises:
        InputError: The file cannot be written; gives the reason, such as a full disk.
    """
    try:
        yield
    except OSError as error:
        raise InputError(f"{path}: cannot be {verb}: {one_line(error)}") from None


@contextmanager
def replacing(path: str | Path, previous: Path | None = None) -> Iterator[BinaryIO]:
    """Open a temporary file, which replaces `path` once it is complete and synced to disk.

    Args:
        path: The file to write.
        previous: Path to move an old file to; None overwrites it.

    Raises:
        InputError: The file cannot be written; an old one is kept, the temporary one removed.
    """
    path = Path(path)
    # A uuid, not a pid: processes on other machines may write here too.
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        with writing(path):
            with beside.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            if previous is not None and path.exists():
                path.replace(previous)
            beside.replace(path)
    finally:
        # On a read-only disk unlink fails even for missing files.
        with suppress(OSError):
            beside.unlink()


def remove_half_written(folder: Path) -> None:
    """Remove temporary files of killed processes; only for the single writer of a folder."""
    for left in folder.glob(".*.part"):
        with suppress(OSError):
            left.unlink()


def make_folder(path: Path) -> Path:
    """Make a folder, and return it.

    Raises:
        InputError: The folder cannot be made.
    """
    with writing(path, "made"):
        path.mkdir(parents=True, exist_ok=True)
    return path
