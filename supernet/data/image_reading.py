"""Images of data sets in 8-bit RGB; errors name the file.

Pillow's `convert("RGB")` clips: a 16-bit greyscale image turns white, one of values in 0..1 black.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from typing import Any

import numpy as np
import PIL
from PIL import Image, UnidentifiedImageError
from PIL.TiffImagePlugin import BITSPERSAMPLE, PHOTOMETRIC_INTERPRETATION
from timm.data.readers.reader_image_in_tar import ReaderImageInTar

from space.utils.errors import InputError, one_line

BLACK_IS_ZERO = 1


class DatasetReader:
    """A reader of a data set's images.

    Args:
        dataset: Result of timm's `create_dataset`, or a sequence of (image, target). Its `loader`
            is replaced, and its tar file no longer kept open.
        split: Name of the split, for errors.

    Attributes:
        files: (path, class) of each image; (member, class, inner tar) in a tar file; else None.
    """

    def __init__(self, dataset: Any, split: str) -> None:
        self._dataset = dataset
        self._reader = getattr(dataset, "reader", None)
        self._split = split
        self._tar: str | None = None
        if isinstance(self._reader, ReaderImageInTar):
            self._tar = self._reader.root
            # An open tar file would share one file position between threads and processes.
            self._reader.cache_tarfiles = False
        if hasattr(dataset, "loader"):
            # torchvision's default loader converts with Pillow's clipping `convert("RGB")`.
            dataset.loader = Image.open
        indexed = dataset if self._reader is None else self._reader
        self.files = getattr(indexed, "samples", getattr(indexed, "imgs", None))

    def __call__(self, i: int) -> Image.Image:
        """Read image i.

        Raises:
            InputError: The image cannot be read or converted faithfully.
        """
        try:
            if self._reader is None:
                return to_rgb(self._dataset[i][0])
            with self._reader[i][0] as file:
                return to_rgb(Image.open(file))
        except Exception as error:  # Pillow raises many types for damaged files
            raise InputError(
                f"{self.name(i)}: image {i} of {self._split} cannot be read: {reading_error(error)}"
            ) from None

    def digest(self, i: int) -> int:
        """Return a 64-bit hash that identifies this version of the file of image i."""
        return file_digest(self.name(i), self._tar or self.name(i))

    def name(self, i: int) -> str:
        """Return the path of image i, or the best name that the data set has for it."""
        if self.files is None:
            name = None if self._reader is None else self._reader.filename(i, absolute=True)
            return str(name or type(self._dataset).__name__)
        if self._tar is None:
            return str(self.files[i][0])
        member, _, inner_tar = self.files[i]
        return "/".join([self._tar, *(each.name for each in (inner_tar, member) if each)])


def reading_error(error: Exception) -> str:
    """Return the reason why an image cannot be read."""
    if isinstance(error, UnidentifiedImageError):  # Pillow shows the file object's repr
        return "Pillow does not know its format, or its beginning is damaged"
    return one_line(error)


def file_digest(name: str, path: str, salt: str = "") -> int:
    """Return a 64-bit hash that identifies this version of a file.

    It covers size and modification time, and Pillow's version, since another one may fail on other
    files.

    Args:
        name: Its path, or that of a member of a tar file.
        path: Path of the file itself.
        salt: More text that the digest depends on.
    """
    size, modified = -1, -1
    # Left to the reading of the file, whose error names the reason.
    with suppress(OSError):
        status = os.stat(path)  # noqa: PTH116 - pathlib takes longer
        size, modified = status.st_size, status.st_mtime_ns
    name = os.path.abspath(name)  # noqa: PTH100 - pathlib takes longer, a million times
    key = repr((name, size, modified, PIL.__version__)) + salt
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "little")


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert an image to 8-bit RGB; transparency is dropped.

    Raises:
        ValueError: The value of white is unknown, or the picture is in the alpha channel alone.
    """
    if image.mode.startswith("I") or image.mode == "F":
        if not _fills_16_bits(image):
            raise ValueError(
                f"its mode is {image.mode} ({image.format}), which does not define the value of "
                "white; save it with 8 bits, or as a PNG of 16 bits"
            )
        # round(x / 257), which turns 65,535 into 255.
        grey = (np.asarray(image).astype(np.uint32) + 128) // 257
        return Image.fromarray(grey.astype(np.uint8)).convert("RGB")
    if image.mode not in ("1", "L", "RGB") and image.has_transparency_data:
        # Palettes and grey images too, to see whether anything but alpha differs between pixels.
        image = image.convert("RGBA")
        extrema: Any = image.getextrema()
        *colours, alpha = extrema
        if alpha[0] < alpha[1] and all(low == high for low, high in colours):
            raise ValueError(
                "it has one colour, and its picture is in the alpha channel alone; save it on a "
                "background"
            )
    return image.convert("RGB")


def _fills_16_bits(image: Image.Image) -> bool:
    """Return whether 0 is black and 65,535 is white."""
    if not image.mode.startswith("I;16"):
        return False
    if image.format == "TIFF":
        # Other TIFF files have 12 bits or inverted values.
        tags = image.tag_v2  # type: ignore[attr-defined]
        bits, kind = tags.get(BITSPERSAMPLE), tags.get(PHOTOMETRIC_INTERPRETATION)
        return bool(bits == (16,) and kind == BLACK_IS_ZERO)
    return image.format in ("PNG", "PPM")
