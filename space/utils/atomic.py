"""Files that are written whole or not at all, and one line on those that cannot be written."""

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
    """Name the file that what is done inside cannot write, or make, as the verb says.

    Raises:
        InputError: it cannot be written, and why: the disk is full, or may only be read.
    """
    try:
        yield
    except OSError as error:
        raise InputError(f"{path}: cannot be {verb}: {one_line(error)}") from None


@contextmanager
def replacing(path: str | Path, previous: Path | None = None) -> Iterator[BinaryIO]:
    """A file beside `path`, which takes its place once it is whole and on the disk.

    Args:
        path: what is written.
        previous: where what lay there goes; None for nowhere.

    Raises:
        InputError: it cannot be written; what lay there still does, and nothing beside it.
    """
    path = Path(path)
    # Processes of other machines may write here too, under the same numbers.
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
        # Of a disk that may only be read, even what is not there cannot be removed.
        with suppress(OSError):
            beside.unlink()


def remove_half_written(folder: Path) -> None:
    """Remove what a process that was killed left beside files; call it as the one that writes."""
    for left in folder.glob(".*.part"):
        with suppress(OSError):
            left.unlink()


def make_folder(path: Path) -> Path:
    """The folder, which is there afterwards.

    Raises:
        InputError: it cannot be made.
    """
    with writing(path, "made"):
        path.mkdir(parents=True, exist_ok=True)
    return path
