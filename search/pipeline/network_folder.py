"""The folders of retrained networks: one arch each, with earlier archs in a subfolder."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from rich.console import Console

from search.pipeline.run_folder import CONFIG, RunFolder
from search.utils.console import print_line
from search.utils.file_lock import LOCK_FILE, FolderLock
from search.utils.units import quantity
from space.arch import Arch
from space.arch_file import load_arch
from space.cost import macs
from space.space import SearchSpace
from space.utils.atomic import file_errors, make_folder
from space.utils.errors import InputError
from space.utils.yaml_file import write_text

# The arch file of a finished network, and of one that is being trained.
ARCH, STARTED = "arch.yaml", "started.yaml"
WEIGHTS = "subnet.safetensors"
# Pictures of a few test images, for reports.
SAMPLES = "samples.npz"
EARLIER = "earlier"
# The reason for a failed retraining, until it is tried again.
FAILED = "failed.json"
RETRAIN_SECTIONS = ("backbone", "data", "task", "retrain")


def claim_folder(
    run_folder: RunFolder, stage: str, arch: Arch, space: SearchSpace, console: Console
) -> Path:
    """Claim the folder of a choice for `arch`; return it.

    A continued search may have found a better arch for the choice: then the files of the earlier
    arch move into `earlier/` inside the folder.

    Raises:
        InputError: The folder holds results of other values, or an invalid file; it is unchanged.
    """
    folder = run_folder.claim(stage, RETRAIN_SECTIONS)
    stored = next((folder / name for name in (ARCH, STARTED) if (folder / name).exists()), None)
    if stored is not None:
        earlier = load_arch(stored)
        if space.identity(earlier) != space.identity(arch):
            with FolderLock(folder):
                aside = _set_aside(folder, earlier, space)
            print_line(console, f"{folder}: its arch is no longer the best: moved to {aside}")
    return folder


def store_failure(folder: Path, reason: str) -> None:
    """Write the reason for a failure into a choice's folder, if possible."""
    with suppress(OSError, InputError):
        write_text(folder / FAILED, json.dumps({"error": reason}) + "\n")


def read_failure(folder: Path) -> str | None:
    """Read the reason for a choice's failure, or None."""
    try:
        return str(json.loads((folder / FAILED).read_text(encoding="utf-8"))["error"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _set_aside(folder: Path, arch: Arch, space: SearchSpace) -> Path:
    """Move a folder's files, except its config, into a subfolder for the arch; return that."""
    stem = f"{quantity(macs(arch, space.shape), 3)}_{space.identity(arch)[:6]}"
    files, count = (ARCH, STARTED), 1
    aside = folder / EARLIER / stem
    while any((aside / name).exists() for name in files):
        count += 1
        aside = folder / EARLIER / f"{stem}_{count}"
    make_folder(aside)
    # The arch file goes last, so that an interrupted move is resumed into the same subfolder.
    for name in sorted((each.name for each in folder.iterdir()), key=lambda name: name in files):
        if name not in (EARLIER, LOCK_FILE, CONFIG):
            with file_errors(aside / name):
                (folder / name).replace(aside / name)
    return aside
