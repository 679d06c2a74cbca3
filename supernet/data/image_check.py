"""Opens every image file once, before hours are spent on those that can be read."""

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

AT_ONCE = 16
KEEP_EVERY_SECONDS = 60.0
MOST_NAMED = 3


def check_images(splits: Sequence[Images], kept: Path) -> None:
    """Decode the files of all images, in parallel; those that are known to be good are not opened.

    Args:
        splits: images that will be read; those that lie in no files are passed over.
        kept: file of what is known to be good, which is written too when the check is interrupted.

    Raises:
        InputError: images cannot be read: how many, and the first of them.
    """
    work = [part for images in splits for part in _parts(images)]
    if not work:
        return
    good, console, began = _Good(kept), Console(stderr=True), time.monotonic()
    total, opened, bad = sum(len(indices) for _, indices in work), 0, list[str]()
    # Pillow decodes without Python's lock, so threads are as fast as processes.
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
    """Some images, as they were found: digests of good files that were opened, and errors."""

    images: int
    good: list[int]
    bad: list[str]


class _Good:
    """The files that are known to be good: eight bytes for each, a digest of its stamp.

    Args:
        path: where they are kept; what cannot be read there is not known.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        stored = b""
        with suppress(OSError):
            stored = path.read_bytes()
        self._known = set(np.frombuffer(stored[: len(stored) // 8 * 8], "<u8").tolist())
        self._kept, self._kept_at = len(self._known), time.monotonic()

    def look(self, source: Source, indices: Indices) -> _Seen:
        """Open those images of a source whose files are not known."""
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
        """Know more files; now and then they are kept, and it says so."""
        self._known.update(digests)
        if time.monotonic() - self._kept_at < KEEP_EVERY_SECONDS:
            return False
        self.keep()
        return True

    def keep(self) -> None:
        """Write what is known, if there is more than before."""
        self._kept_at = time.monotonic()
        if len(self._known) == self._kept:
            return
        # Where nothing can be written, files are opened again the next time, and that is all.
        with suppress(InputError):
            make_folder(self._path.parent)
            with replacing(self._path) as file:
                file.write(np.array(sorted(self._known), "<u8").tobytes())
            self._kept = len(self._known)


def _parts(images: Images) -> Iterator[tuple[Source, Indices]]:
    """A few images at a time, of those that lie in files."""
    if images.source.stamp is not None:
        for start in range(0, len(images), AT_ONCE):
            yield images.source, images.indices[start : start + AT_ONCE]


def _digest(stamp: Stamp) -> int:
    name = os.path.abspath(stamp.name)  # noqa: PTH100 - pathlib takes longer, a million times
    # Another Pillow may read less, or more.
    what = (name, stamp.size, stamp.changed, PIL.__version__)
    return int.from_bytes(hashlib.blake2b(repr(what).encode(), digest_size=8).digest(), "little")
