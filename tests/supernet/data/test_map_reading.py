"""Maps are read as the numbers that their files store, whatever the format."""

import numpy as np
import pytest
import torch
from image_toys import write_netpbm, write_small_png, write_small_tiff
from PIL import Image

from space import InputError
from supernet.data.map_reading import FileMaps, read_map

LABELS = np.random.default_rng(0).integers(0, 4, (5, 7))
LABELS[0, 0] = 3


def save(dtype, suffix, factor=1):
    def write(folder):
        path = folder / f"map{suffix}"
        values = (LABELS * factor).astype(dtype)
        if suffix == ".npy":
            np.save(path, values)
        else:
            Image.fromarray(values).save(path)
        return path, values

    return write


def save_palette(bits, border=False):
    """Colours that say nothing of the indices, and Pascal VOC's border of 255."""

    def write(folder):
        values = LABELS.astype(np.uint8)
        values[-1] = 255 if border else 0
        image = Image.frombytes("P", values.shape[::-1], values.tobytes())
        count = 256 if border else 1 << bits
        image.putpalette(np.random.default_rng(1).integers(0, 256, 3 * count).tolist())
        image.save(folder / "map.png", bits=bits)
        return folder / "map.png", values

    return write


def save_small(bits, name="map.png", write_file=write_small_png):
    def write(folder):
        values = LABELS % (1 << bits)
        write_file(folder / name, values, bits)
        return folder / name, values

    return write


def save_inverted(bits):
    def write_file(path, values, bits):
        write_small_tiff(path, values, bits, white=0)

    return save_small(bits, "map.tiff", write_file)


def save_netpbm(white, name, factor=1):
    def write(folder):
        values = LABELS % 2 if white is None else LABELS * factor
        write_netpbm(folder / name, values, white)
        return folder / name, values

    return write


def save_fortran(folder):
    np.save(folder / "map.npy", np.asfortranarray(LABELS / 3))
    return folder / "map.npy", LABELS / 3


WRITERS = {
    "png of 8 bits": save("u1", ".png"),
    "png of 16 bits": save("u2", ".png", 20_000),
    "tiff of 16 bits": save("<u2", ".tiff", 20_000),
    "big-endian tiff of 16 bits": save(">u2", ".tif", 20_000),
    "tiff of 32 bits": save("i4", ".tiff", 200_000),
    "tiff of floats": save("f4", ".tiff", 0.37),
    "palette of 8 bits with a border": save_palette(8, border=True),
    "palette of 2 bits": save_palette(2),
    "grey of 1 bit": save_small(1),
    "grey of 2 bits": save_small(2),
    "grey of 4 bits": save_small(4),
    "tiff of 2 bits": save_small(2, "map.tiff", write_small_tiff),
    "tiff of 4 bits": save_small(4, "map.tiff", write_small_tiff),
    **{f"tiff of {bits} bits, 0 is white": save_inverted(bits) for bits in (1, 2, 4, 8)},
    "pbm": save_netpbm(None, "map.pbm"),
    "pbm of text": save_netpbm(None, "map.plain.pbm"),
    "pgm of labels": save_netpbm(40, "map.pgm"),
    "pgm of masks": save_netpbm(3, "map.pgm"),
    "pgm of text": save_netpbm(40, "map.plain.pgm"),
    "pgm of 8 bits": save_netpbm(255, "map.pgm", 85),
    "pgm of 10 m in millimetres": save_netpbm(10_000, "map.pgm", 3_333),
    "pgm of 16 bits": save_netpbm(65_535, "map.pgm", 20_000),
    "pgm of text, 16 bits": save_netpbm(40_000, "map.plain.pgm", 13_331),
    "npy of integers": save("u2", ".npy", 20_000),
    "npy of signed integers": save("i8", ".npy", -1),
    "big-endian npy": save(">f4", ".npy", 0.37),
    "npy of half floats": save("f2", ".npy", 0.5),
    "npy of booleans": save("?", ".npy"),
    "npy in the order of columns": save_fortran,
}


@pytest.mark.parametrize("writer", WRITERS)
def test_the_numbers_are_those_of_the_file(tmp_path, writer):
    path, values = WRITERS[writer](tmp_path)
    read = read_map(path)
    np.testing.assert_array_equal(read, values)
    assert read.dtype.isnative
    assert (read.dtype.kind == "f") == (values.dtype.kind == "f")
    # Those of torch too, which knows neither booleans of masks nor other byte orders.
    np.testing.assert_array_equal(torch.tensor(read).double(), values)


def test_a_map_is_turned_as_its_exif_says(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(LABELS.astype(np.uint8)).save(tmp_path / "map.png", exif=exif)
    np.testing.assert_array_equal(read_map(tmp_path / "map.png"), np.rot90(LABELS, -1))


def refused(path):
    with pytest.raises(InputError) as caught:
        read_map(path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{path}: cannot be read as a map: ")
    return message.split("as a map: ")[1]


@pytest.mark.parametrize(
    ("mode", "channels"), [("RGB", "R, G, B"), ("RGBA", "R, G, B, A"), ("LA", "L, A")]
)
def test_several_channels_are_refused(tmp_path, mode, channels):
    Image.new(mode, (4, 3)).save(tmp_path / "a.b[c] d.png")
    message = refused(tmp_path / "a.b[c] d.png")
    assert message.startswith(f"must have one channel, got {channels}; save depth, or the number")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((1, 4, 5)), "must have two axes, height and width, got the shape (1, 4, 5)"),
        (np.zeros((4, 5), complex), "holds complex128, not plain numbers"),
        (np.full((4, 5), "a"), "holds <U1, not plain numbers"),
        (np.full((4, 5), None), "Object arrays cannot be loaded when allow_pickle=False"),
    ],
)
def test_other_arrays_are_refused(tmp_path, values, message):
    np.save(tmp_path / "map.npy", values)
    assert refused(tmp_path / "map.npy") == message


def test_damaged_files_are_refused_in_one_line(tmp_path):
    path, _ = save("u2", ".png", 20_000)(tmp_path)
    path.write_bytes(path.read_bytes()[:-30])
    assert "truncated" in refused(path)
    path.write_bytes(b"no image")
    assert refused(path).startswith("Pillow does not know its format")
    assert refused(tmp_path / "gone.png") == "No such file or directory"
    path, _ = save("u2", ".npy")(tmp_path)
    path.write_bytes(path.read_bytes()[:-3])
    assert refused(path)


def test_the_digest_is_that_of_a_version_of_a_file_and_of_its_meaning(tmp_path):
    path, _ = save("u1", ".png")(tmp_path)
    maps = FileMaps([path])
    assert (len(maps), maps.name(0)) == (1, str(path))
    before = maps.digest(0, "scale 1"), maps.digest(0, "scale 2")
    assert before[0] != before[1]
    assert FileMaps([path]).digest(0, "scale 1") == before[0]
    path.write_bytes(path.read_bytes() + b"x")
    assert maps.digest(0, "scale 1") != before[0]
