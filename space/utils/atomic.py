"""Atomic writing of files, and errors of files in one line."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from space.utils.errors import InputError, one_line


@contextmanager
def file_errors(path: str | Path, verb: str = "written") -> Iterator[None]:
    """Convert an OSError inside the context to an InputError that names the file.

    Raises:
        InputError: The file cannot be written, or what `verb` says; with the reason, such as a
            full disk.
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
        previous: Path to move an existing file to; None overwrites it.

    Raises:
        InputError: The file cannot be written; an existing one stays, the temporary is removed.
    """
    path = Path(path)
    # A uuid, not a pid: processes on other machines may write here too.
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        with file_errors(path):
            with part.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            if previous is not None and path.exists():
                path.replace(previous)
            part.replace(path)
    finally:
        # On a read-only disk unlink fails even for missing files.
        with suppress(OSError):
            part.unlink()


def remove_half_written(folder: Path) -> None:
    """Remove temporary files of killed processes; for the only writer of a folder alone."""
    for part in folder.glob(".*.part"):
        with suppress(OSError):
            part.unlink()


def make_folder(path: Path) -> Path:
    """Create a folder, with its parents, and return its path.

    Raises:
        InputError: The folder cannot be created.
    """
    with file_errors(path, "made"):
        path.mkdir(parents=True, exist_ok=True)
    return path
