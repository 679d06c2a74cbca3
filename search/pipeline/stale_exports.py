"""Removing exported files of archs that are no longer on the front."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator
from pathlib import Path

from search.front.front import Front
from search.front.front_file import FRONT
from search.pipeline.network_folder import ARCH
from search.pipeline.pack import is_package
from space.arch import Arch
from space.arch_file import ArchFile, load_arch, load_arch_file
from space.utils.atomic import writing
from space.utils.errors import InputError

# The names that `file_stem` gives.
STEM = re.compile(r"\d{4,}\.\d\d[kM]_([0-9a-f]{6})")


def remove_stale(target: Path, search: str, kept: Container[str]) -> Iterator[str]:
    """Remove arch files and exported folders of archs that are not on the front.

    Files that the export did not write are kept, with the folder or arch file that they belong to.

    Args:
        target: Folder of the export.
        search: Name of the search.
        kept: Names of the front's arch files.

    Yields:
        A line on what was removed, and on each file or folder that was kept.

    Raises:
        InputError: A file cannot be removed.
    """
    removed = 0
    for path in sorted(target.glob("*.yaml")):
        file = None if path.stem in kept else _load_exported(path, search)
        if file is None:
            continue
        place = target / path.stem
        others = [each for each in target.glob(f"{path.stem}.*") if each != path]
        if place.exists() and not _remove_package(place, file):
            yield f"{place}: no longer on the front, but kept: it holds something else"
        if others:
            yield f"{path}: no longer on the front, but kept: {others[0].name} lies beside it"
            continue
        # Last: after an interruption, the next export finds the rest through this file.
        with writing(path, "removed"):
            path.unlink()
        removed += 1
    if removed:
        noun = "arch that is" if removed == 1 else "archs that are"
        yield f"removed {removed} {noun} no longer on the front"


def describe_stale_portfolio(place: Path, front: Front, search: str) -> Iterator[str]:
    """Yield a line on a portfolio that differs from the front.

    Args:
        place: Folder of the portfolio, which may not exist.
        front: The current front.
        search: Name of the search.
    """
    path = place / FRONT
    if not path.exists():
        return
    hint = f"`tokennas export CONFIG --search.name {search} --format portfolio` updates it"
    try:
        then = {entry.identity for entry in Front.load(path).entries}
    except InputError as error:
        yield f"{error}; {hint}"
        return
    now = {entry.identity for entry in front.readable().entries}
    if then != now:
        yield (
            f"{place}: {len(then - now)} of its archs left the front since, {len(now - then)} are "
            f"new; {hint}"
        )


def _load_exported(path: Path, search: str) -> ArchFile | None:
    """Load an arch file that an export of the search's front wrote; None for other files."""
    named = STEM.fullmatch(path.stem)
    if named is None:
        return None
    try:
        file = load_arch_file(path)
    except InputError:
        return None
    origin = file.origin
    known = str(origin.get("identity", ""))[:6] == named[1] and origin.get("search") == search
    return file if known else None


def _remove_package(place: Path, file: ArchFile) -> bool:
    """Remove an arch's exported folder if it holds nothing else; return whether it did."""
    if not is_package(place) or not _may_hold(place / ARCH, file.arch):
        return False
    with writing(place, "removed"):
        for each in sorted(place.iterdir(), key=lambda each: each.name == ARCH):
            each.unlink()
        place.rmdir()
    return True


def _may_hold(path: Path, arch: Arch) -> bool:
    """Return whether an arch file is missing or of that arch."""
    try:
        return not path.exists() or load_arch(path) == arch
    except InputError:
        return False
