"""Folders of images, and PNG files that Pillow can read but not write."""

import struct
import zlib

import numpy as np
from PIL import Image

from supernet.data.sources import DatasetConfig


def image_folder(root, splits=("train", "val"), classes=("cat", "dog"), count=6):
    rng = np.random.default_rng(0)
    for split in splits:
        for name in classes:
            (root / split / name).mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 255, (20, 20, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / split / name / f"{i}.png")
    return DatasetConfig(name="folder", root=str(root))


def write_png16(path, pixels):
    """A PNG of 16 bits, of (h, w) greys or (h, w, 3) colours."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    _write_png(path, pixels.shape, 16, rows)


def write_small_png(path, pixels, bits):
    """A PNG of 1, 2 or 4 bits, of (h, w) greys, with the numbers as they are."""
    each = (pixels[..., None] >> np.arange(bits)[::-1]) & 1
    rows = np.packbits(each.reshape(len(pixels), -1), axis=1)
    _write_png(path, pixels.shape, bits, b"".join(b"\0" + row.tobytes() for row in rows))


def write_small_tiff(path, pixels, bits, white=1):
    """A TIFF of up to 8 bits, of (h, w) greys, with the numbers as they are.

    `white` is 0 where the number 0 is white, which Pillow inverts.
    """
    each = (pixels[..., None] >> np.arange(bits)[::-1]) & 1
    data = np.packbits(each.reshape(len(pixels), -1), axis=1).tobytes()
    height, width = pixels.shape
    # Width, height, bits, no compression, which greys, place of the data, rows and bytes of it.
    tags = {256: width, 257: height, 258: bits, 259: 1, 262: white, 273: 8, 278: height}
    tags[279] = len(data)
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    directory = struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0)
    path.write_bytes(struct.pack("<2sHI", b"II", 42, 8 + len(data)) + data + directory)


def write_netpbm(path, pixels, white):
    """A PBM (`white` is None) or a PGM with a greatest value, of (h, w) numbers as they are.

    Plain text if the name ends in `.plain.pgm` or `.plain.pbm`.
    """
    plain, header = ".plain." in path.name, f"{pixels.shape[1]} {pixels.shape[0]}\n"
    if white is not None:
        header += f"{white}\n"
    kind = (1 if plain else 4) if white is None else (2 if plain else 5)
    if plain:
        data = "\n".join(" ".join(map(str, row)) for row in pixels).encode()
    elif white is None:
        data = np.packbits(pixels.astype(bool), axis=1).tobytes()
    else:
        data = pixels.astype("u1" if white < 256 else ">u2").tobytes()
    path.write_bytes(f"P{kind}\n{header}".encode() + data)


def _write_png(path, shape, bits, rows):
    colour = 0 if len(shape) == 2 else 2
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", shape[1], shape[0], bits, colour, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    )
    made = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + made)
