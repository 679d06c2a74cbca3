"""Checkpoints of a training: the last two, each with a checksum, so that one is always intact.

A file holds the output of `torch.save`, then a mark and the SHA-256 of all bytes before it: torch
ignores trailing bytes, and loads a file with a flipped bit without an error.
"""

from __future__ import annotations

from hashlib import sha256
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import torch

from space.utils.atomic import file_errors, remove_half_written, replacing
from space.utils.errors import InputError, one_line, shown

CHECKPOINT = "checkpoint.pt"
MARK = b"tokennas-sha256:"


class LoadedCheckpoint(NamedTuple):
    """A loaded checkpoint.

    Args:
        state: State of the newest intact checkpoint; None without a checkpoint.
        notes: One line for each damaged checkpoint.
    """

    state: dict[str, Any] | None
    notes: list[str]


def previous_path(path: Path) -> Path:
    """Return the path of the checkpoint before the one at `path`."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def save_checkpoint(state: dict[str, Any], path: Path) -> None:
    """Write tensors and plain values; the file that was there becomes the previous checkpoint.

    Raises:
        InputError: The checkpoint cannot be written; the old one is kept.
    """
    with replacing(path, previous_path(path)) as file:
        hashing_file = _HashingFile(file)
        torch.save(state, hashing_file)  # type: ignore[arg-type]
        if hashing_file.failure is not None:
            raise hashing_file.failure
        file.write(MARK + hashing_file.hash.digest())


def load_checkpoint(path: Path) -> LoadedCheckpoint:
    """Load the newest intact checkpoint onto the CPU, running no code.

    On the CPU, since every process would unpickle broadcast GPU tensors onto the same GPU.

    A damaged checkpoint is renamed to `*.broken`, so that the next save does not replace the intact
    one by it. Half-written files of killed processes are removed.

    Raises:
        InputError: There are files, and none is an intact checkpoint.
    """
    remove_half_written(path.parent)
    state: dict[str, Any] | None = None
    broken, notes = list[Path](), list[str]()
    for file in (path, previous_path(path)):
        if state is None and file.exists():
            try:
                state = _read(file)
            except InputError as error:
                broken.append(file)
                notes.append(f"{file}: not an intact checkpoint: {error}")
    if broken and state is None:
        raise InputError(f"{notes[0]}; delete it to start anew")
    for file in broken:
        with file_errors(file):
            file.replace(file.with_name(f"{file.name}.broken"))
    return LoadedCheckpoint(state, notes)


class _HashingFile:
    """A file that hashes what is written, and keeps a failure, which torch would hide."""

    def __init__(self, file: BinaryIO) -> None:
        self.hash = sha256()
        self.failure: BaseException | None = None
        self._file = file

    def write(self, data: Any) -> int:
        if self.failure is None:
            try:
                self._file.write(data)
                self.hash.update(data)
            except BaseException as error:
                self.failure = error
        return memoryview(data).nbytes

    def flush(self) -> None:
        """Do nothing: the file is flushed once, when it is complete."""


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
            end = data.rfind(MARK)
            if end < 0:
                raise ValueError("it does not end with its checksum, so it was cut")
            with memoryview(data) as view, view[:end] as content:
                digest = sha256(content).digest()
            if digest != data[end + len(MARK) :]:
                raise ValueError("its checksum does not fit, so it was changed")
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many types for damaged files
        raise InputError(one_line(error)) from None
    if not isinstance(state, dict):
        raise InputError(f"it must hold a mapping, got {shown(state)}")
    return state
