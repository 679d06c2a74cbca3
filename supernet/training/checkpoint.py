"""Training state on disk: the last two, each with its checksum, so that a whole one is left.

A file is what torch writes, then a mark and the SHA-256 of what stands before it. torch reads past
the end and would load a file with a flipped bit without a word.
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
    """What was found where checkpoints lie.

    Args:
        state: of the newest that is whole; None where there is none at all.
        notes: a line on each that is not whole.
    """

    state: dict[str, Any] | None = None
    notes: list[str] = field(default_factory=list)


def previous(path: Path) -> Path:
    """Where the checkpoint before the one at `path` lies."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def save_checkpoint(state: dict[str, Any], path: Path) -> None:
    """Write tensors and plain values; what lay there becomes the previous one.

    Raises:
        InputError: it cannot be written; what lay there still does.
    """
    with replacing(path, previous(path)) as file:
        hashing = _Hashing(file)
        torch.save(state, cast(BinaryIO, hashing))
        hashing.check()
        file.write(MARK + hashing.digest())


def load_checkpoint(path: Path) -> Found:
    """Read the newest whole one back into this machine's memory, running no code.

    From a GPU's memory it would be told to other processes into that of the same GPU.

    One that is not whole is set aside, as `*.broken`, so that the next does not push out a whole
    one in its favour. What a killed process has left half written is removed.

    Raises:
        InputError: there are files, and none is a whole checkpoint.
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
    """A file that knows the checksum of what was written to it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self._failure: BaseException | None = None

    def write(self, data: Any) -> int:
        """Write, unless that has failed: torch would hide why behind an error of its own."""
        if self._failure is None:
            try:
                self._file.write(data)
                self._hash.update(data)
            except BaseException as error:
                self._failure = error
        return memoryview(data).nbytes

    def flush(self) -> None:
        """Nothing: the file is flushed once it is whole."""

    def check(self) -> None:
        """Raise what made a write fail."""
        if self._failure is not None:
            raise self._failure

    def digest(self) -> bytes:
        return self._hash.digest()


def _read(path: Path) -> dict[str, Any]:
    try:
        _check_sum(path)
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever torch raises at bytes that nobody saved
        raise InputError(one_line(error)) from None
    if not isinstance(state, dict):
        raise InputError(f"it holds no state but {shown(state)}")
    return state


def _check_sum(path: Path) -> None:
    """Compare the checksum.

    Raises:
        ValueError: there is none, or another one.
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
