"""Check that every image file can be decoded, before a long training starts."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console

from space.utils.atomic import make_folder, replacing
from space.utils.errors import InputError
from supernet.data.loaders import Images, Indices
from supernet.data.sources import Source
from supernet.progress import progress_bar

AT_ONCE = 16  # images per task of the thread pool
MOST_NAMED = 3  # bad images in an error
SAVE_SECONDS = 60.0


def check_images(splits: Sequence[Images], kept: Path) -> None:
    """Decode the files of all images in parallel, but for those that an earlier check decoded.

    Args:
        splits: Images to check; those that are no files are skipped.
        kept: File with the digests of checked files; written every minute, also if the check is
            interrupted.

    Raises:
        InputError: Images cannot be read; the message has their number and the first of them.
    """
    parts = [part for images in splits for part in _parts(images)]
    if not parts:
        return
    total = sum(len(indices) for _, indices in parts)
    known, good, bad = _read_digests(kept), list[int](), list[str]()
    console, began = Console(stderr=True), time.monotonic()
    saved = began
    # Pillow releases the GIL while it decodes, so threads are as fast as processes.
    pool = ThreadPoolExecutor()
    try:
        with progress_bar(console) as bar:
            task = bar.add_task("images", total=total, state="")
            results = pool.map(partial(_decode, known), parts)
            for (_, indices), (digests, errors) in zip(parts, results, strict=True):
                good += digests
                bad += errors
                bar.advance(task, len(indices))
                if time.monotonic() > saved + SAVE_SECONDS:  # a kill loses a minute of the check
                    _write_digests(kept, known.union(good))
                    saved = time.monotonic()
    finally:
        pool.shutdown(cancel_futures=True)
        if good:
            _write_digests(kept, known.union(good))
    if bad:
        more = f"; and {len(bad) - MOST_NAMED} more" if len(bad) > MOST_NAMED else ""
        raise InputError(
            f"{len(bad):,} of {total:,} images cannot be used: {'; '.join(bad[:MOST_NAMED])}{more}"
        )
    if good:
        seconds = time.monotonic() - began
        console.print(
            f"{len(good):,} of {total:,} images opened in {seconds:.0f} s: all can be read"
        )


def _parts(images: Images) -> Iterator[tuple[Source, Indices]]:
    """Yield a few images at a time, of those that are files."""
    if images.source.digest is not None:
        for start in range(0, len(images), AT_ONCE):
            yield images.source, images.indices[start : start + AT_ONCE]


def _decode(known: set[int], part: tuple[Source, Indices]) -> tuple[list[int], list[str]]:
    """Decode images whose digests are not known; return the digests of good ones, and errors."""
    source, indices = part
    assert source.digest is not None
    good, bad = list[int](), list[str]()
    for i in indices.tolist():
        digest = source.digest(i)
        if digest not in known:
            try:
                source.read(i)
            except InputError as error:
                bad.append(str(error))
            else:
                good.append(digest)
    return good, bad


def _read_digests(path: Path) -> set[int]:
    """Read the digests of checked files; none where there is no such file."""
    try:
        return set(np.fromfile(path, "<u8").tolist())
    except OSError:
        return set()


def _write_digests(path: Path, digests: Iterable[int]) -> None:
    # A folder without write access only costs the next run another check.
    with suppress(InputError):
        make_folder(path.parent)
        with replacing(path) as file:
            file.write(np.array(sorted(digests), "<u8").tobytes())
