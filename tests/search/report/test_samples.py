"""Stored pictures of predictions: what is read, and what is drawn side by side."""

import random
from itertools import pairwise

import numpy as np
import pytest

from search.report.map_pictures import RIGHT, WRONG, draw_maps, find_span, make_legend
from search.report.plot_samples import draw_kept_tokens, draw_predictions, tint
from search.report.samples_data import read_samples
from search.report.search_result import Score
from supernet.tasks.drawing import GREY, WHITE, palette

RMSE, MIOU = Score("rmse", "min"), Score("miou")


def write(path, count=3, classes=(), **changed):
    rng = np.random.default_rng(0)
    arrays = {"indices": np.arange(count), "kept.1-2": rng.random((count, 3, 4)) < 0.5}
    arrays |= {"scores": rng.random(count), "classes": np.array(classes, dtype=np.str_)}
    arrays["void"] = np.array(255 if classes else 0.0)
    for k in range(count):
        arrays[f"image.{k}"] = rng.integers(256, size=(12, 16, 3), dtype=np.uint8)
        for kind in ("truth", "prediction"):
            labels = rng.integers(max(len(classes), 1), size=(12, 16), dtype=np.uint8)
            numbers = (1 + rng.random((12, 16))).astype(np.float32)
            arrays[f"{kind}.{k}"] = labels if classes else numbers
    np.savez_compressed(path, **{**arrays, **changed})
    return path


def titles_of(figure):
    return [axes.get_title("left") for axes in figure.axes if axes.get_title("left")]


def pictures_of(figure):
    return [axes for axes in figure.axes if axes.get_images()]


def test_what_was_written_is_read(tmp_path):
    samples = read_samples(write(tmp_path / "samples.npz", 12))
    assert len(samples) == 12
    assert samples.indices == tuple(range(12))
    with np.load(tmp_path / "samples.npz") as arrays:
        for k in range(12):
            assert (samples.images[k] == arrays[f"image.{k}"]).all()
            assert (samples.predictions[k] == arrays[f"prediction.{k}"]).all()
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
    # Each byte of the first header and of the directory, such as the kind of compression.
    directory = data.index(b"PK\x01\x02")
    for k in (*range(30), *range(directory, directory + 46)):
        for value in (data[k] ^ 0x01, data[k] ^ 0x08, 0xFF):
            path.write_bytes(data[:k] + bytes([value]) + data[k + 1 :])
            found = read_samples(path)
            assert found is None or len(found) == 3
    assert read_samples(tmp_path / "missing.npz") is None
    for other in (
        {"indices": np.arange(2)},
        {"image.0": np.zeros((4, 4), np.uint8)},
        {"truth.1": np.zeros((4, 4, 3))},
        {"truth.1": np.zeros((4, 4))},
        {"truth.1": np.zeros((12, 16), np.uint8), "prediction.1": np.zeros((12, 16), np.uint8)},
        {"scores": np.zeros(2)},
        {"void": np.array("x")},
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


@pytest.mark.parametrize("classes", [(), ("floor", "wall")], ids=["numbers", "labels"])
@pytest.mark.parametrize("count", [1, 5])
def test_pictures_have_a_column_for_each_network_and_the_images_score(tmp_path, count, classes):
    samples = read_samples(write(tmp_path / "samples.npz", count, classes))
    names, score = [f"network {k}" for k in range(7)], MIOU if classes else RMSE
    figure = draw_predictions(dict.fromkeys(names, samples), score)
    said = [score.format({score.name: x}) + score.unit * (not classes) for x in samples.scores]
    first, *others = titles_of(figure)[:6]
    assert first == "image, truth"
    assert others == [f"{name}\n{score.title} {said[0]}" for name in names[:5]]
    assert titles_of(figure)[6:] == [f"{score.title} {x}" for x in said[1:3] for _ in range(5)]
    assert len(pictures_of(figure)) == 6 * 2 * min(3, count)
    bars = [axes.get_ylabel() for axes in figure.axes if axes.get_ylabel()]
    assert bars == ([] if classes else ["m", "relative error"] * min(3, count))
    assert len(figure.legends) == bool(classes)
    tokens = draw_kept_tokens(samples)
    assert titles_of(tokens)[1].startswith("blocks 1 to 2: ")


def test_long_names_are_wrapped_and_pictures_of_other_images_lie_apart(tmp_path):
    samples = read_samples(write(tmp_path / "samples.npz", scores=np.full(3, np.nan)))
    figure = draw_predictions({"skip alone, latency_ms@a_long_name=70%": samples}, RMSE)
    assert titles_of(figure) == ["image, truth", "skip alone,\nlatency_ms@a_long_name=70%"]
    boxes = [axes.get_position() for axes in pictures_of(figure)[::2]]
    gaps = [above.y0 - below.y1 for above, below in pairwise(boxes)]
    assert min(gaps) > 0
    # Image and truth, then the next image.
    assert gaps[1] > 2 * gaps[0]
    assert gaps[::2] == pytest.approx([gaps[0]] * 3)
    assert boxes[0].y1 < 1
    assert boxes[-1].y0 == pytest.approx(0, abs=1e-9)


def test_one_scale_covers_the_truth_and_all_predictions(tmp_path):
    truth = np.linspace(2, 5, 12 * 16, dtype=np.float32).reshape(12, 16)
    truth[0, 0] = 0
    near, far = (
        read_samples(
            write(tmp_path / f"{x}.npz", **{"truth.0": truth, "prediction.0": x * truth + 1})
        )
        for x in (np.float32(0.1), np.float32(2))
    )
    drawn = draw_maps([near, far], 0)
    assert drawn.span == pytest.approx((1.0, 11.0))
    assert (drawn.truth[0, 0] == GREY).all()
    # A prediction outside the truth's range is not flat.
    assert all(len(np.unique(each.reshape(-1, 3), axis=0)) > 5 for each in drawn.predictions)
    assert find_span([np.full(3, np.nan)]) == (0.0, 1.0)


def test_labels_and_right_and_wrong_pixels_have_colours_of_their_own(tmp_path):
    classes = tuple(f"class {k}" for k in range(40))
    truth = np.repeat(np.arange(12, dtype=np.uint8) % 3, 16).reshape(12, 16)
    truth[0, 0] = 255
    wrong = np.full((12, 16), 7, np.uint8)
    path = write(tmp_path / "samples.npz", 1, classes, **{"truth.0": truth, "prediction.0": wrong})
    samples = read_samples(path)
    drawn = draw_maps([samples], 0)
    assert (drawn.errors[0][1:] == WRONG).all()
    assert (drawn.errors[0][0, 0] == WHITE).all()
    legend = make_legend([samples], 1)
    shown = [f"class {k}" for k in (0, 1, 2, 7)]
    assert list(legend) == [*shown, "no class", "right", "wrong"]
    assert [legend[name] for name in shown] == [tuple(palette()[k]) for k in (0, 1, 2, 7)]
    assert len(set(legend.values())) == len(legend)
    assert legend["right"] == RIGHT
    many = read_samples(write(tmp_path / "many.npz", 3, classes))
    assert len(make_legend([many], 3)) == 20 + 3
