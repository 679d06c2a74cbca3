"""Maps in files, one number for each pixel: PNG, TIFF and others that Pillow reads, or `.npy`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps

from space.utils.errors import InputError
from supernet.data.image_reading import file_digest, reading_error
from supernet.data.source import MapReader

# Pillow's modes with one number for each pixel: bits, grey, palettes, 16 and 32 bits, floats.
ONE_CHANNEL = ("1", "L", "P", "I", "F")
# Greys of 2 and 4 bits, which Pillow multiplies so that white is 255, in PNG and TIFF.
GREY_FACTORS = {"L;2": 85, "L;4": 17}
# The values of white to which Pillow stretches the greys of Netpbm files (PGM), by mode.
NETPBM_WHITE = {"L": 255, "I": 65_535}
# numpy's kinds of plain numbers: booleans, integers, floats.
NUMBERS = "biuf"


class FileMaps(MapReader):
    """The maps of a split, a file each."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = [str(path) for path in paths]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: int) -> NDArray[Any]:
        return read_map(Path(self.paths[i]))

    def name(self, i: int) -> str:
        return self.paths[i]

    def digest(self, i: int, salt: str) -> int:
        return file_digest(self.paths[i], self.paths[i], salt)


def read_map(path: Path) -> NDArray[Any]:
    """Read a map (H, W) as the numbers that the file stores: indices of palettes, never colours.

    Raises:
        InputError: The file cannot be read, or has several channels.
    """
    try:
        values = _read_npy(path) if path.suffix == ".npy" else _read_image(path)
        if values.dtype.kind not in NUMBERS:
            raise ValueError(f"holds {values.dtype}, not plain numbers")
    except Exception as error:  # Pillow and numpy raise many types for damaged files
        reason = reading_error(error)
        raise InputError(f"{path}: cannot be read as a map: {reason}") from None
    if values.dtype == bool:
        return values.astype(np.uint8)
    # torch knows no other byte order.
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def _read_npy(path: Path) -> NDArray[Any]:
    values: NDArray[Any] = np.load(path, allow_pickle=False)
    if values.ndim != 2:
        raise ValueError(f"must have two axes, height and width, got the shape {values.shape}")
    return values


def _read_image(path: Path) -> NDArray[Any]:
    with Image.open(path) as image:
        if image.mode.partition(";")[0] not in ONE_CHANNEL:
            channels = ", ".join(image.getbands())
            raise ValueError(
                f"must have one channel, got {channels}; save depth, or the number of the class, "
                "as one number for each pixel"
            )
        factor, is_inverted = _find_changes(image)
        ImageOps.exif_transpose(image, in_place=True)
        values: NDArray[Any] = np.asarray(image)
    if is_inverted:
        values = np.invert(values)
    return values if factor == 1 else np.rint(values / factor).astype(values.dtype)


def _find_changes(image: ImageFile.ImageFile) -> tuple[float, bool]:
    """Return how Pillow will change the numbers of a grey image, before it is loaded.

    Returns:
        Its factor, such that white is the greatest value; and whether it inverts them first, in
        files where white is 0: bitmaps of Netpbm, and TIFF's WhiteIsZero.
    """
    tile: Any = image.tile[0] if image.tile else None
    if tile is None:
        return 1.0, False
    if image.format == "PPM":
        if tile.codec_name == "raw" or image.mode == "1":
            return 1.0, image.mode == "1"
        return NETPBM_WHITE[image.mode] / tile.args[1], False
    form = str(tile.args if isinstance(tile.args, str) else tile.args[0] if tile.args else "")
    is_inverted = form[:1] in ("1", "L") and "I" in form.partition(";")[2]
    return GREY_FACTORS.get(form.rstrip("IR"), 1), is_inverted
