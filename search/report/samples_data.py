"""The stored pictures of a network's predictions, as `search.pipeline.predictions` writes them."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Samples:
    """Pictures of a few test images with a network's predictions.

    Args:
        pictures: By kind (`image`, `truth`, `prediction`, `error`) those of all samples, (H, W, 3).
        indices: Indices of the images in the data of the test split.
        kept: By run of skipping blocks, as `first-last`, the mask of the patch tokens that go
            through it, (K, h, w).
    """

    pictures: Mapping[str, list[Picture]]
    indices: tuple[int, ...]
    kept: Mapping[str, Mask] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.pictures["image"])


def read_samples(path: Path) -> Samples | None:
    """Read stored pictures; None where there are none, or not of this version."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            names = sorted(arrays.files, key=lambda name: (len(name), name))
            pictures: dict[str, list[Picture]] = {}
            kept: dict[str, Mask] = {}
            indices = tuple(arrays["indices"].tolist())
            names.remove("indices")
            for name in names:
                kind, _, rest = name.partition(".")
                if kind == "kept":
                    kept[rest] = arrays[name]
                else:
                    pictures.setdefault(kind, []).append(arrays[name])
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error):
        return None
    counts = {len(indices), *map(len, pictures.values()), *map(len, kept.values())}
    arrays_of_pictures = [each for group in pictures.values() for each in group]
    valid = (
        pictures.keys() == {"image", "truth", "prediction", "error"}
        and len(counts) == 1
        and all(each.ndim == 3 and each.dtype == np.uint8 for each in arrays_of_pictures)
        and all(each.ndim == 3 and each.dtype == np.bool_ for each in kept.values())
    )
    return Samples(pictures, indices, kept) if valid else None
