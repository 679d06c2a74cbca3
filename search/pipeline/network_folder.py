"""The folders of retrained networks: each holds one arch, and an older one is set aside in it."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from rich.console import Console

from search.pipeline.run_folder import CONFIG, RunFolder
from search.utils.console import print_line
from search.utils.file_lock import NAME as LOCK
from search.utils.file_lock import FolderLock
from search.utils.units import quantity
from space.arch import Arch
from space.arch_file import load_arch
from space.cost import macs
from space.space import SearchSpace
from space.utils.atomic import make_folder, writing
from space.utils.errors import InputError
from space.utils.yaml_file import write_text

# The arch file of a finished network, and of one that is being trained.
ARCH, STARTED = "arch.yaml", "started.yaml"
WEIGHTS = "subnet.safetensors"
EARLIER = "earlier"
# Why a choice could not be retrained, until it is tried again.
FAILED = "failed.json"
VALUES = ("backbone", "data", "task", "retrain")


def take(
    folder: RunFolder, stage: str, arch: Arch, space: SearchSpace, console: Console
) -> tuple[Path, bool]:
    """The folder of a choice, for `arch`, and whether that is retrained already.

    A search that went on may have found a better arch for a choice: what the folder holds of the
    one before then moves into `earlier/` inside it.

    Raises:
        InputError: results of other values are there, or a file is not right; nothing is touched.
    """
    place = folder.claim(stage, VALUES)
    held = next((place / name for name in (ARCH, STARTED) if (place / name).exists()), None)
    if held is not None:
        before = load_arch(held)
        if space.identity(before) != space.identity(arch):
            with FolderLock(place):
                aside = _set_aside(place, before, space)
            size = quantity(macs(before, space.shape), 3)
            print_line(
                console,
                f"{place} held another arch, of {size} MACs, that is no longer its choice: kept in "
                f"{aside}",
            )
    return place, (place / ARCH).exists()


def note_failure(place: Path, reason: str) -> None:
    """Say in a choice's folder why it could not be retrained, where that can be written."""
    with suppress(OSError, InputError):
        write_text(place / FAILED, json.dumps({"error": reason}) + "\n")


def forgive(place: Path) -> None:
    """Forget why a choice could not be retrained: it is tried again."""
    (place / FAILED).unlink(missing_ok=True)


def failure(place: Path) -> str | None:
    """Why a choice could not be retrained; None where nothing says so."""
    try:
        return str(json.loads((place / FAILED).read_text(encoding="utf-8"))["error"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _set_aside(place: Path, arch: Arch, space: SearchSpace) -> Path:
    """Move what a folder holds, but its values, into a folder of its own inside."""
    stem = f"{quantity(macs(arch, space.shape), 3)}_{space.identity(arch)[:6]}"
    files, count = (ARCH, STARTED), 1
    aside = place / EARLIER / stem
    while any((aside / name).exists() for name in files):
        count += 1
        aside = place / EARLIER / f"{stem}_{count}"
    make_folder(aside)
    # The arch file goes last: a move that was interrupted then goes on, into the same folder.
    for name in sorted((each.name for each in place.iterdir()), key=lambda name: name in files):
        if name not in (EARLIER, LOCK, CONFIG):
            with writing(aside / name):
                (place / name).replace(aside / name)
    return aside
