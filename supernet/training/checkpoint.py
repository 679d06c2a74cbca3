"""Checkpoints of a training: the last two, each with a checksum, so that one is always intact.

A file holds what `torch.save` writes, then a mark and the SHA-256 of all before it: torch ignores
trailing bytes, and loads a file with a flipped bit without an error.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

import torch

from space.utils.atomic import remove_half_written, replacing, writing
from space.utils.errors import InputError, one_line, shown

MARK = b"tokennas-sha256:"
DIGEST = hashlib.sha256().digest_size


@dataclass
class Found:
    """The checkpoint that was loaded.

    Args:
        state: State of the newest intact checkpoint; None without a checkpoint.
        notes: One line for each damaged checkpoint.
    """

    state: dict[str, Any] | None = None
    notes: list[str] = field(default_factory=list)


def previous(path: Path) -> Path:
    """Return the path of the checkpoint before the one at `path`."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def save_checkpoint(state: dict[str, Any], path: Path) -> None:
    """Write tensors and plain values; the file that was there becomes the previous checkpoint.

    Raises:
        InputError: The checkpoint cannot be written; the old one is kept.
    """
    with replacing(path, previous(path)) as file:
        hashing = _Hashing(file)
        torch.save(state, cast(BinaryIO, hashing))
        hashing.check()
        file.write(MARK + hashing.digest())


def load_checkpoint(path: Path) -> Found:
    """Load the newest intact checkpoint onto the CPU, running no code.

    Broadcast GPU tensors would be unpickled onto the same GPU by every process.

    A damaged checkpoint is renamed to `*.broken`, so that the next save does not replace an intact
    one by it. Half-written files of killed processes are removed.

    Raises:
        InputError: There are files, and none is an intact checkpoint.
    """
    remove_half_written(path.parent)
    found, broken = Found(), []
    for each in (path, previous(path)):
        if not each.exists():
            continue
        try:
            found.state = _read(each)
        except InputError as error:
            found.notes.append(f"{each}: no whole checkpoint: {error}")
            broken.append(each)
        else:
            break
    if broken and found.state is None:
        raise InputError(f"{found.notes[0]}; delete it to go anew")
    for each in broken:
        with writing(each):
            each.replace(each.with_name(f"{each.name}.broken"))
    return found


class _Hashing:
    """A file that computes the checksum of the bytes written to it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self._failure: BaseException | None = None

    def write(self, data: Any) -> int:
        """Write, and store a failure for `check`: torch would hide it behind its own error."""
        if self._failure is None:
            try:
                self._file.write(data)
                self._hash.update(data)
            except BaseException as error:
                self._failure = error
        return memoryview(data).nbytes

    def flush(self) -> None:
        """Do nothing: the file is flushed once, when it is complete."""

    def check(self) -> None:
        """Raise the error of a failed write."""
        if self._failure is not None:
            raise self._failure

    def digest(self) -> bytes:
        return self._hash.digest()


def _read(path: Path) -> dict[str, Any]:
    try:
        _check_sum(path)
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many types for damaged files
        raise InputError(one_line(error)) from None
    if not isinstance(state, dict):
        raise InputError(f"it holds no state but {shown(state)}")
    return state


def _check_sum(path: Path) -> None:
    """Check the checksum of a file.

    Raises:
        ValueError: The checksum is missing or wrong.
    """
    length = path.stat().st_size - len(MARK) - DIGEST
    with path.open("rb") as file:
        file.seek(max(0, length))
        mark, given = file.read(len(MARK)), file.read()
        if mark != MARK:
            raise ValueError(
                "it does not end with its checksum, so it was cut, or is no checkpoint"
            )
        file.seek(0)
        digest = hashlib.sha256()
        while length > 0 and (chunk := file.read(min(length, 1 << 20))):
            digest.update(chunk)
            length -= len(chunk)
    if digest.digest() != given:
        raise ValueError("its checksum does not fit, so it was changed")
