"""The stored samples of a network's predictions, as `search.pipeline.predictions` writes them."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

# What numpy and zipfile raise for damaged files; RuntimeError for unknown kinds of compression.
DAMAGED = (
    *(OSError, EOFError, ValueError, TypeError, LookupError, RuntimeError),
    *(zipfile.BadZipFile, zlib.error),
)
Picture = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Map = NDArray[Any]


@dataclass(frozen=True)
class Samples:
    """A few test images with a network's predictions.

    Args:
        images: The images, (H, W, 3) each.
        truths, predictions: Maps, (H', W') each: labels if there are classes, else numbers.
        scores: The task's first metric of each image; NaN where it has none.
        classes: Names of the labels; none for numbers.
        void: Value of pixels without a truth.
        indices: Indices of the images in the data of the test split.
        kept: By run of skipping blocks, as `first-last`, the mask of the patch tokens that go
            through it, (K, h, w).
    """

    images: Sequence[Picture]
    truths: Sequence[Map]
    predictions: Sequence[Map]
    scores: tuple[float, ...]
    classes: tuple[str, ...]
    void: float
    indices: tuple[int, ...]
    kept: Mapping[str, Mask] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.images)


def read_samples(path: Path) -> Samples | None:
    """Read stored samples; None where there are none, or not of this version."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        lists: dict[str, list[Map]] = {"image": [], "truth": [], "prediction": []}
        kept: dict[str, Mask] = {}
        for name in sorted(arrays, key=lambda name: (len(name), name)):
            kind, _, rest = name.partition(".")
            if kind == "kept":
                kept[rest] = arrays[name]
            elif rest:
                lists[kind].append(arrays[name])
        samples = Samples(
            lists["image"],
            lists["truth"],
            lists["prediction"],
            tuple(arrays["scores"].tolist()),
            tuple(map(str, arrays["classes"].tolist())),
            float(arrays["void"]),
            tuple(arrays["indices"].tolist()),
            kept,
        )
    except DAMAGED:
        return None
    return samples if _is_valid(samples) else None


def _is_valid(samples: Samples) -> bool:
    parts = (samples.truths, samples.predictions, samples.scores, samples.indices)
    pairs = zip(samples.truths, samples.predictions, strict=False)
    kind = np.unsignedinteger if samples.classes else np.floating
    return (
        {len(samples)} == {*map(len, parts), *map(len, samples.kept.values())} != {0}
        and all(each.ndim == 3 and each.dtype == np.uint8 for each in samples.images)
        and all(a.ndim == 2 and a.shape == b.shape and a.dtype == b.dtype for a, b in pairs)
        and all(np.issubdtype(each.dtype, kind) for each in samples.truths)
        and all(isinstance(each, float) for each in samples.scores)
        and all(each.ndim == 3 and each.dtype == np.bool_ for each in samples.kept.values())
    )
