"""Scenes of images: the frames of one place are alike, so no scene is in two parts of a split."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from space.utils.errors import InputError, shown
from supernet.data.file_patterns import is_text_file, read_lines

Indices = NDArray[np.int64]


def read_scenes(value: str, root: Path) -> Callable[[str], str]:
    """Return the function from the name of an image to its scene.

    Args:
        value: A text file of lines `NAME SCENE`, below the root; or a regular expression, whose
            first group is the scene, or else its whole match.
        root: Root of the data.

    Raises:
        InputError: The file or the expression is invalid.
    """
    if is_text_file(root / value):
        return _read_scene_file(root / value)
    no_file = f"data.dataset.scenes: {shown(value)} is no text file below {root}"
    try:
        expression = re.compile(value)
    except re.error as error:
        raise InputError(f"{no_file}, and no regular expression: {error}") from None

    def match(name: str) -> str:
        found = expression.search(name)
        scene = found and (found[1] if expression.groups else found[0])
        if not scene:
            raise InputError(
                f"{no_file}, and as a regular expression finds no scene in the name {name!r}"
            )
        return scene

    return match


def _read_scene_file(path: Path) -> Callable[[str], str]:
    scenes = {}
    for number, line in read_lines(path):
        # Names may have spaces, scenes have none.
        name, _, scene = line.replace("\t", " ").rpartition(" ")
        if not name:
            raise InputError(f"{path}:{number}: must be a name and a scene, got {shown(line)}")
        scenes[name.strip()] = scene

    def look_up(name: str) -> str:
        if name not in scenes:
            raise InputError(f"{path}: has no scene of the name {name!r}")
        return scenes[name]

    return look_up


def number_scenes(scenes: Sequence[str]) -> Indices:
    """Number scenes by their names, (images,)."""
    return np.unique(np.asarray(scenes), return_inverse=True)[1].astype(np.int64)


def draw_scenes(
    rng: np.random.Generator, pool: Indices, scenes: Indices, share: float
) -> list[int]:
    """Draw scenes at random that together have at most `share` of the images, but at least one.

    Args:
        rng: Random generator.
        pool: Indices of the images.
        scenes: Scene of each image of the split.
        share: Share of the pool.

    Returns:
        The indices of their images.

    Raises:
        InputError: All images are of one scene.
    """
    numbers, counts = np.unique(scenes[pool], return_counts=True)
    if len(numbers) < 2:
        raise InputError(
            "data.dataset.scenes: all training images are of one scene, and so none could be in "
            "the search split"
        )
    order = rng.permutation(len(numbers))
    chosen, total = list[int](), 0
    for k in order:
        if total + counts[k] <= share * len(pool):
            chosen.append(numbers[k])
            total += counts[k]
    if not chosen:
        chosen = [numbers[min(order, key=counts.__getitem__)]]
    indices: list[int] = pool[np.isin(scenes[pool], chosen)].tolist()
    return indices
