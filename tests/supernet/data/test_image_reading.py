import re
import warnings

import numpy as np
import pytest
from image_toys import image_folder, write_png16
from PIL import Image
from PIL.TiffImagePlugin import BITSPERSAMPLE, PHOTOMETRIC_INTERPRETATION

from space import InputError
from supernet.data.image_reading import to_rgb
from supernet.data.sources import DatasetConfig, open_sources

GREYS = np.random.default_rng(0).integers(0, 256, (20, 20), dtype=np.uint8)


def first_of(tmp_path, write, suffix=".png", **config):
    """What is read of the first image of a folder that `write` writes, by its path."""
    made = image_folder(tmp_path)
    for file in sorted(tmp_path.rglob("*.png")):
        file.unlink()
        write(file.with_suffix(suffix))
    args = {"input_key": suffix} if suffix != ".png" else {}
    train, _ = open_sources(DatasetConfig(**{**vars(made), "args": args, **config}))
    return train.reader(0)


@pytest.mark.parametrize("name", ["folder", "torch/image_folder"])
def test_greys_of_16_bits_are_those_of_8_bits(tmp_path, name, monkeypatch):
    monkeypatch.setattr("supernet.data.sources._share_images", lambda *_: False)
    split = {"root": str(tmp_path / "train")} if name.startswith("torch") else {}

    def write(path):
        write_png16(path, GREYS.astype(np.uint16) * 257)

    read = first_of(tmp_path, write, name=name, **split)
    assert read.mode == "RGB"
    assert (np.asarray(read) == GREYS[..., None]).all()


@pytest.mark.parametrize("name", ["folder", "torch/image_folder"])
def test_a_decompression_bomb_is_named(tmp_path, monkeypatch, name):
    monkeypatch.setattr("supernet.data.sources._share_images", lambda *_: False)
    image_folder(tmp_path)
    root = tmp_path / "train" if name.startswith("torch") else tmp_path
    train, _ = open_sources(DatasetConfig(name=name, root=str(root)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 199)
    with pytest.raises(InputError, match=r"cat/0\.png: image 0 of train cannot be read: .* bomb"):
        train.reader(0)


def test_greys_between_those_of_8_bits_are_rounded(tmp_path):
    greys = np.random.default_rng(1).integers(0, 65536, (64, 64))
    write_png16(tmp_path / "a.png", greys)
    read = np.asarray(to_rgb(Image.open(tmp_path / "a.png")))
    assert (read == np.round(greys / 65535 * 255)[..., None]).all()


def test_colours_of_16_bits_are_those_of_8_bits(tmp_path):
    colours = np.random.default_rng(1).integers(0, 65536, (20, 20, 3))
    read = first_of(tmp_path, lambda path: write_png16(path, colours))
    assert np.abs(np.asarray(read) - colours / 257).max() < 1


@pytest.mark.parametrize("order", ["<", ">"])
def test_tiffs_of_16_bits_are_scaled_in_either_byte_order(tmp_path, order):
    pixels = (GREYS.astype(np.uint16) * 257).astype(f"{order}u2")
    read = first_of(tmp_path, Image.fromarray(pixels).save, ".tiff")
    assert (np.asarray(read) == GREYS[..., None]).all()


@pytest.mark.parametrize(
    ("pixels", "tags", "mode"),
    [
        (GREYS.astype(np.float32) / 255, {}, "F"),
        (GREYS.astype(np.int32) * 1000, {}, "I"),
        (GREYS.astype(np.uint16) * 257, {PHOTOMETRIC_INTERPRETATION: 0}, "I;16"),
    ],
)
def test_an_image_whose_white_nothing_tells_is_refused_by_name(tmp_path, pixels, tags, mode):
    def write(path):
        Image.fromarray(pixels).save(path, tiffinfo=tags)

    with pytest.raises(InputError) as caught:
        first_of(tmp_path, write, ".tiff")
    assert re.fullmatch(
        rf".*/train/cat/0\.tiff: image 0 of train cannot be read: its mode is {mode} \(TIFF\), .*",
        str(caught.value),
    )


def test_a_tiff_of_12_bits_is_refused(tmp_path):
    Image.fromarray(GREYS.astype(np.uint16)).save(tmp_path / "a.tiff")
    image = Image.open(tmp_path / "a.tiff")
    image.load()
    image.tag_v2[BITSPERSAMPLE] = (12,)
    with pytest.raises(ValueError, match=r"its mode is I;16 \(TIFF\)"):
        to_rgb(image)


def transparent(shown, hidden):
    """A picture whose right half is transparent."""
    pixels = np.zeros((20, 20, 4), np.uint8)
    pixels[:, :10], pixels[:, 10:] = (*shown, 255), (*hidden, 0)
    return Image.fromarray(pixels)


@pytest.mark.parametrize("mode", ["RGBA", "P", "LA"])
def test_the_colours_beneath_what_is_transparent_are_shown_in_silence(tmp_path, mode):
    made = transparent((255, 255, 255), (0, 0, 0))
    made = made.quantize(4) if mode == "P" else made.convert(mode)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        read = np.asarray(first_of(tmp_path, made.save))
    assert (read[:, :10] == 255).all()
    assert (read[:, 10:] == 0).all()


@pytest.mark.parametrize("mode", ["RGBA", "P", "LA"])
def test_a_picture_in_transparency_alone_is_refused(tmp_path, mode):
    made = transparent((0, 0, 0), (0, 0, 0))
    made = made.quantize(4) if mode == "P" else made.convert(mode)
    with pytest.raises(InputError, match=r"cat/0\.png: .* its picture is in the alpha channel"):
        first_of(tmp_path, made.save)


@pytest.mark.parametrize("mode", ["1", "L", "CMYK", "YCbCr", "RGB"])
def test_other_modes_are_converted_as_pillow_does(mode):
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    image = Image.fromarray(pixels).convert(mode)
    assert to_rgb(image).tobytes() == image.convert("RGB").tobytes()


def test_a_bomb_is_one_line_with_its_name(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(InputError, match=r"cat/0\.png: image 0 of train cannot be read: Image siz"):
        first_of(tmp_path, Image.fromarray(GREYS).save)
