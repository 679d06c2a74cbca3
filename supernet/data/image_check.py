"""Check that every image and map can be decoded and learned from, before a long training starts."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console

from space.utils.atomic import make_folder, replacing
from space.utils.errors import InputError
from supernet.data.loaders import Images, Indices
from supernet.data.source import MapReader, Source
from supernet.progress import progress_bar
from supernet.tasks.base import Task

IMAGES_PER_TASK = 16  # of the thread pool
MAX_NAMED = 3  # unreadable images in an error
SAVE_SECONDS = 60.0


def check_images(splits: Sequence[Images], digest_file: Path) -> None:
    """Decode the files of all images in parallel, except those that an earlier check decoded.

    Args:
        splits: Images to check; those that are no files are skipped.
        digest_file: File with the digests of checked images; written every minute, also if the
            check is interrupted.

    Raises:
        InputError: Images cannot be read; the message has their number and the first of them.
    """
    chunks = [
        (images.source, images.indices[start : start + IMAGES_PER_TASK])
        for images in splits
        if images.source.reader.files is not None
        for start in range(0, len(images), IMAGES_PER_TASK)
    ]
    if not chunks:
        return
    total = sum(len(indices) for _, indices in chunks)
    checked, good, errors = _read_digests(digest_file), list[int](), list[str]()
    console, started = Console(stderr=True), time.monotonic()
    saved = started
    # Pillow releases the GIL while it decodes, so threads are as fast as processes.
    pool = ThreadPoolExecutor()
    try:
        with progress_bar(console) as bar:
            task = bar.add_task("images", total=total, state="")
            results = pool.map(partial(_decode, checked), chunks)
            for (_, indices), (digests, messages) in zip(chunks, results, strict=True):
                good += digests
                errors += messages
                bar.advance(task, len(indices))
                if time.monotonic() > saved + SAVE_SECONDS:  # a kill loses a minute of the check
                    _write_digests(digest_file, checked.union(good))
                    saved = time.monotonic()
                    if not console.is_terminal:
                        console.print(f"{len(good):,} of {total:,} images opened")
    finally:
        pool.shutdown(cancel_futures=True)
        if good:
            _write_digests(digest_file, checked.union(good))
    if errors:
        more = f"; and {len(errors) - MAX_NAMED} more" if len(errors) > MAX_NAMED else ""
        first = "; ".join(errors[:MAX_NAMED])
        raise InputError(f"{len(errors):,} of {total:,} images cannot be used: {first}{more}")
    if good:
        seconds = time.monotonic() - started
        console.print(
            f"{len(good):,} of {total:,} images opened in {seconds:.0f} s: all can be read"
        )


def check_training_maps(images: Images, task: Task) -> None:
    """Refuse maps that are good each, and teach nothing together; others than maps are skipped.

    Args:
        images: The training split.
        task: Its task.

    Raises:
        InputError: They teach nothing, or one cannot be read.
    """
    source = images.source
    if not isinstance(source.targets, MapReader):
        return
    # At random: the task reads them up to a second class, and they may come sorted by class.
    order = np.random.default_rng(0).permutation(images.indices).tolist()
    try:
        task.check_maps(map(source.read_map, order))
    except InputError:  # of one map, which it names
        raise
    except ValueError as error:
        name, others = source.targets.name(order[0]), len(order) - 1
        raise InputError(f"{name} and {others:,} other training maps: {error}") from None


def _decode(checked: set[int], chunk: tuple[Source, Indices]) -> tuple[list[int], list[str]]:
    """Decode the images not checked yet; return the digests of good ones, and errors."""
    source, indices = chunk
    good, errors = list[int](), list[str]()
    for i in indices.tolist():
        digest = source.digest(i)
        if digest not in checked:
            try:
                source.read(i)
            except InputError as error:
                errors.append(str(error))
            else:
                good.append(digest)
    return good, errors


def _read_digests(path: Path) -> set[int]:
    """Read the digests of checked images; an empty set without a file."""
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
