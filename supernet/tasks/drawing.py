"""Maps as pictures: numbers by colour maps, labels by a palette. Without torch. (H, W) the size."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Picture = NDArray[np.uint8]

# Of numbers that are invalid, and of labels: grey is a class in the palette, white is none.
GREY, WHITE = 128, 255


def colour(values: Array, least: float, most: float, name: str, valid: Array) -> Picture:
    """Draw numbers (H, W) by a colour map of matplotlib, invalid ones in grey: (H, W, 3).

    Args:
        values: The numbers.
        least, most: Numbers at the ends of the colour map.
        name: Name of the colour map.
        valid: Mask of the numbers to draw, (H, W).
    """
    from matplotlib import colormaps  # noqa: PLC0415 - slow to import, seldom needed

    scaled = (np.asarray(values, dtype=np.float64) - least) / max(most - least, 1e-12)
    picture: Picture = colormaps[name](np.clip(scaled, 0, 1), bytes=True)[..., :3]
    return np.where(valid[..., None], picture, np.uint8(GREY))


def colour_labels(labels: Array, valid: Array) -> Picture:
    """Draw labels (H, W) by VOC's palette, invalid ones in white: (H, W, 3)."""
    picture = palette()[np.where(valid, labels, 0)]
    return np.where(valid[..., None], picture, np.uint8(WHITE))


def palette() -> Picture:
    """Return PASCAL VOC's palette of 256 colours, in which near labels differ much: (256, 3)."""
    labels = np.arange(256)
    colours = np.zeros((256, 3), dtype=np.uint8)
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= (((labels >> (3 * bit + channel)) & 1) << (7 - bit)).astype(
                np.uint8
            )
    return colours
