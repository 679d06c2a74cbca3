"""Stored pictures of predictions: what is read, and what is drawn side by side."""

import random
from itertools import pairwise

import numpy as np
import pytest

from search.report.plot_samples import draw_kept_tokens, draw_predictions, tint
from search.report.samples_data import read_samples

KINDS = ("image", "truth", "prediction", "error")


def write(path, count=3, **changed):
    rng = np.random.default_rng(0)
    arrays = {
        f"{kind}.{k}": rng.integers(256, size=(12, 16, 3), dtype=np.uint8)
        for kind in KINDS
        for k in range(count)
    }
    arrays |= {"indices": np.arange(count), "kept.1-2": rng.random((count, 3, 4)) < 0.5}
    np.savez_compressed(path, **{**arrays, **changed})
    return path


def test_what_was_written_is_read(tmp_path):
    samples = read_samples(write(tmp_path / "samples.npz", 12))
    assert len(samples) == 12
    assert samples.indices == tuple(range(12))
    with np.load(tmp_path / "samples.npz") as arrays:
        for k in range(12):
            assert (samples.pictures["error"][k] == arrays[f"error.{k}"]).all()
        assert (samples.kept["1-2"] == arrays["kept.1-2"]).all()


def test_damaged_or_other_files_are_none(tmp_path):
    path = write(tmp_path / "samples.npz")
    data, rng = path.read_bytes(), random.Random(0)
    for _ in range(200):
        broken = bytearray(data[: rng.randrange(1, len(data))] if rng.random() < 0.3 else data)
        for _ in range(rng.randrange(1, 4)):
            broken[rng.randrange(len(broken))] ^= 1 << rng.randrange(8)
        path.write_bytes(broken)
        found = read_samples(path)
        assert found is None or len(found) == 3
    assert read_samples(tmp_path / "missing.npz") is None
    for other in (
        {"indices": np.arange(2)},
        {"image.0": np.zeros((4, 4), np.uint8)},
        {"truth.1": np.zeros((4, 4, 3))},
        {"kept.1-2": np.zeros((2, 3, 4), bool)},
    ):
        assert read_samples(write(tmp_path / "other.npz", **other)) is None


@pytest.mark.parametrize("brightness", [0, 20, 128, 200, 255])
def test_tokens_that_bypass_differ_on_dark_and_bright_images(brightness):
    picture = np.full((12, 16, 3), brightness, dtype=np.uint8)
    kept = np.zeros((3, 4), dtype=bool)
    kept[1, 2] = True
    drawn = tint(picture, kept)
    assert (drawn[4:8, 8:12] == brightness).all()
    differs = np.abs(drawn.astype(int) - brightness).max(axis=2) >= 30
    assert differs.sum() == 12 * 16 - 4 * 4


@pytest.mark.parametrize("count", [1, 2, 5])
def test_pictures_have_a_column_for_each_network(tmp_path, count):
    samples = read_samples(write(tmp_path / "samples.npz", count))
    names = [f"network {k}" for k in range(7)]
    figure = draw_predictions(dict.fromkeys(names, samples))
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles == ["image, truth", *names[:5]]
    assert len(figure.axes) == 6 * 2 * min(3, count)
    tokens = draw_kept_tokens(samples)
    assert [axes.get_title() for axes in tokens.axes][1].startswith("blocks 1 to 2: ")


def test_long_names_are_wrapped_and_pictures_of_other_images_lie_apart(tmp_path):
    samples = read_samples(write(tmp_path / "samples.npz"))
    figure = draw_predictions({"skip alone, latency_ms@a_long_name=70%": samples})
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles == ["image, truth", "skip alone,\nlatency_ms@a_long_name=70%"]
    boxes = [axes.get_position() for axes in figure.axes[::2]]
    gaps = [above.y0 - below.y1 for above, below in pairwise(boxes)]
    assert min(gaps) > 0
    # Image and truth, then the next image.
    assert gaps[1] > 2 * gaps[0]
    assert gaps[::2] == pytest.approx([gaps[0]] * 3)
    assert boxes[0].y1 < 1
    assert boxes[-1].y0 == pytest.approx(0, abs=1e-9)
