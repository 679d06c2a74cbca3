"""Removing exported files of archs that are no longer on the front."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from search.front.front import Front
from search.front.front_file import FRONT
from search.pipeline.given_archs import file_stem
from search.pipeline.pack import is_package
from space.utils.atomic import writing
from space.utils.errors import InputError


def remove_stale(target: Path, front: Front) -> Iterator[str]:
    """Remove arch files and exported folders of archs that were on the front of an earlier export.

    Files that the export did not write are kept, with the folder or arch file that they belong to.

    Args:
        target: Folder of the export, with the front of an earlier one.
        front: The current front.

    Yields:
        A line on what was removed, and on each file or folder that was kept.

    Raises:
        InputError: A file cannot be removed.
    """
    earlier = _load_front(target)
    current = set(map(file_stem, front.entries))
    removed = 0
    for stem in map(file_stem, earlier.entries if earlier else ()):
        path, place = target / f"{stem}.yaml", target / stem
        if stem in current or not path.exists():
            continue
        if is_package(place):
            with writing(place, "removed"):
                shutil.rmtree(place)
        elif place.exists():
            yield f"{place}: no longer on the front, but kept: it holds something else"
        others = [each for each in target.glob(f"{stem}.*") if each != path]
        if others:
            yield f"{path}: no longer on the front, but kept: {others[0].name} lies beside it"
            continue
        with writing(path, "removed"):
            path.unlink()
        removed += 1
    if removed:
        yield f"archs removed, which are no longer on the front: {removed}"


def describe_stale_portfolio(place: Path, front: Front, search: str) -> str | None:
    """Return a line on a portfolio that has other archs than the front; None for no such one.

    Args:
        place: Folder of the portfolio, which may not exist.
        front: The current front.
        search: Name of the search.
    """
    portfolio = _load_front(place)
    if portfolio is None or _identities(portfolio) == _identities(front.readable()):
        return None
    command = f"tokennas export CONFIG --search.name {search} --format portfolio"
    return f"{place}: is of an earlier front; `{command}` updates it"


def _load_front(folder: Path) -> Front | None:
    """Load the front of an earlier export; None where there is none that can be read."""
    try:
        return Front.load(folder / FRONT)
    except InputError:
        return None


def _identities(front: Front) -> set[str]:
    return {entry.identity for entry in front.entries}
