"""Check that every image file can be decoded, before a long training starts."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL
from rich.console import Console

from space.utils.atomic import make_folder, replacing
from space.utils.errors import InputError
from supernet.data.image_reading import Stamp
from supernet.data.loaders import Images, Indices
from supernet.data.sources import Source
from supernet.progress import progress_bar

AT_ONCE = 16  # images per task of the thread pool
KEEP_EVERY_SECONDS = 60.0
MOST_NAMED = 3  # bad images in an error


def check_images(splits: Sequence[Images], kept: Path) -> None:
    """Decode the files of all images in parallel, but for those that an earlier check decoded.

    Args:
        splits: Images to check; those that are no files are skipped.
        kept: File with the digests of checked files; written also if the check is interrupted.

    Raises:
        InputError: Images cannot be read; the message has their number and the first of them.
    """
    work = [part for images in splits for part in _parts(images)]
    if not work:
        return
    good, console, began = _Good(kept), Console(stderr=True), time.monotonic()
    total, opened, bad = sum(len(indices) for _, indices in work), 0, list[str]()
    # Pillow releases the GIL while it decodes, so threads are as fast as processes.
    pool = ThreadPoolExecutor()
    try:
        with progress_bar(console) as bar:
            task = bar.add_task("images", total=total, state="")
            for seen in pool.map(good.look, *zip(*work, strict=True)):
                opened += len(seen.good) + len(seen.bad)
                bad += seen.bad
                bar.advance(task, seen.images)
                if good.add(seen.good) and not console.is_terminal:
                    console.print(f"{bar.tasks[task].completed:,.0f} of {total:,} images looked at")
    finally:
        pool.shutdown(cancel_futures=True)
        good.keep()
    if bad:
        count = f"{len(bad):,} of {total:,} images cannot be used: " if len(bad) > 1 else ""
        more = f"; and {len(bad) - MOST_NAMED} more" if len(bad) > MOST_NAMED else ""
        raise InputError(f"{count}{'; '.join(bad[:MOST_NAMED])}{more}")
    if opened:
        seconds = time.monotonic() - began
        noun = "image" if opened == 1 else "images"
        console.print(f"{opened:,} {noun} opened in {seconds:.0f} s: all can be read")


class _Seen(NamedTuple):
    """The check of some images: digests of the files that were decoded, and error messages."""

    images: int
    good: list[int]
    bad: list[str]


class _Good:
    """The files that were decoded before: eight bytes each, a digest of its stamp.

    Args:
        path: File of the digests; ignored if it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        stored = b""
        with suppress(OSError):
            stored = path.read_bytes()
        self._known = set(np.frombuffer(stored[: len(stored) // 8 * 8], "<u8").tolist())
        self._kept, self._kept_at = len(self._known), time.monotonic()

    def look(self, source: Source, indices: Indices) -> _Seen:
        """Decode those images of a source whose digests are not stored."""
        assert source.stamp is not None
        good, bad = list[int](), list[str]()
        for i in indices.tolist():
            digest = _digest(source.stamp(i))
            if digest in self._known:
                continue
            try:
                source.read(i)
            except InputError as error:
                bad.append(str(error))
            else:
                good.append(digest)
        return _Seen(len(indices), good, bad)

    def add(self, digests: list[int]) -> bool:
        """Add digests and write the file now and then; returns whether it was written."""
        self._known.update(digests)
        if time.monotonic() - self._kept_at < KEEP_EVERY_SECONDS:
            return False
        self.keep()
        return True

    def keep(self) -> None:
        """Write the digests, if there are new ones."""
        self._kept_at = time.monotonic()
        if len(self._known) == self._kept:
            return
        # A folder without write access only costs the next run another check.
        with suppress(InputError):
            make_folder(self._path.parent)
            with replacing(self._path) as file:
                file.write(np.array(sorted(self._known), "<u8").tobytes())
            self._kept = len(self._known)


def _parts(images: Images) -> Iterator[tuple[Source, Indices]]:
    """Yield a few images at a time, of those that are files."""
    if images.source.stamp is not None:
        for start in range(0, len(images), AT_ONCE):
            yield images.source, images.indices[start : start + AT_ONCE]


def _digest(stamp: Stamp) -> int:
    name = os.path.abspath(stamp.name)  # noqa: PTH100 - pathlib takes longer, a million times
    # Another version of Pillow may fail on other files.
    what = (name, stamp.size, stamp.changed, PIL.__version__)
    return int.from_bytes(hashlib.blake2b(repr(what).encode(), digest_size=8).digest(), "little")
