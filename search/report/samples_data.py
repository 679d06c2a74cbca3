"""The stored pictures of a network's predictions, as `search.pipeline.predictions` writes them."""

from __future__ import annotations

import zipfile
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
        kept: By run of skipping blocks, as `first-last`, the mask of the patch tokens that go
            through it, (K, h, w).
    """

    pictures: Mapping[str, list[Picture]]
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
            for name in names:
                kind, _, rest = name.partition(".")
                if kind == "kept":
                    kept[rest] = arrays[name]
                else:
                    pictures.setdefault(kind, []).append(arrays[name])
    except (OSError, ValueError, zipfile.BadZipFile):
        return None
    counts = {len(each) for each in pictures.values()}
    if pictures.keys() != {"image", "truth", "prediction", "error"} or len(counts) != 1:
        return None
    return Samples(pictures, kept)
