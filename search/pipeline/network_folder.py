"""The folders of retrained networks: each holds one arch, and earlier ones in a subfolder."""

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
# The reason for a failed retraining, until it is tried again.
FAILED = "failed.json"
VALUES = ("backbone", "data", "task", "retrain")


def take(folder: RunFolder, stage: str, arch: Arch, space: SearchSpace, console: Console) -> Path:
    """Claim the folder of a choice for `arch`; return it.

    A search that went on may have found a better arch for a choice: files of the arch before then
    move into `earlier/` inside the folder.

    Raises:
        InputError: The folder holds results of other values, or an invalid file; it is unchanged.
    """
    place = folder.claim(stage, VALUES)
    held = next((place / name for name in (ARCH, STARTED) if (place / name).exists()), None)
    if held is not None:
        before = load_arch(held)
        if space.identity(before) != space.identity(arch):
            with FolderLock(place):
                aside = _set_aside(place, before, space)
            print_line(console, f"{place}: its arch is no longer its choice: kept in {aside}")
    return place


def note_failure(place: Path, reason: str) -> None:
    """Write the reason for a failure into a choice's folder, if possible."""
    with suppress(OSError, InputError):
        write_text(place / FAILED, json.dumps({"error": reason}) + "\n")


def forgive(place: Path) -> None:
    """Remove the reason for an earlier failure."""
    (place / FAILED).unlink(missing_ok=True)


def failure(place: Path) -> str | None:
    """Read the reason for a choice's failure, or None."""
    try:
        return str(json.loads((place / FAILED).read_text(encoding="utf-8"))["error"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _set_aside(place: Path, arch: Arch, space: SearchSpace) -> Path:
    """Move a folder's files, except its config, into a subfolder for the arch; return that."""
    stem = f"{quantity(macs(arch, space.shape), 3)}_{space.identity(arch)[:6]}"
    files, count = (ARCH, STARTED), 1
    aside = place / EARLIER / stem
    while any((aside / name).exists() for name in files):
        count += 1
        aside = place / EARLIER / f"{stem}_{count}"
    make_folder(aside)
    # The arch file goes last, so that an interrupted move is resumed into the same subfolder.
    for name in sorted((each.name for each in place.iterdir()), key=lambda name: name in files):
        if name not in (EARLIER, LOCK, CONFIG):
            with writing(aside / name):
                (place / name).replace(aside / name)
    return aside
