"""The check before training finds every kind of wrong pair, and reads no pair twice."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from dense_toys import dense_backbone, dense_task, write_pairs
from nyu_toys import write_nyu
from PIL import Image

from space import InputError
from supernet.config import DataConfig, DatasetConfig
from supernet.data.image_check import check_images
from supernet.data.splits import open_data

SIZE = 48, 32
BROKEN = "01_005"


@pytest.fixture
def kept(tmp_path):
    return tmp_path / "run" / "good.bin"


@pytest.fixture
def toy(tmp_path):
    return DatasetConfig(**write_pairs(tmp_path / "toy"))


@pytest.fixture
def opened(monkeypatch):
    """The names of image and map files that are opened, in no order."""
    found, real = [], Image.open

    def note(path, *args):
        found.append(str(path))
        return real(path, *args)

    monkeypatch.setattr("PIL.Image.open", note)
    return found


def splits(dataset, section="depth", **values):
    config = DataConfig(dataset=dataset, batch=2, workers=0, search_share=0.2, **values)
    keys = ("scale", "invalid", "remap", "reduce_zero_label")
    task = dense_task(section, **{key: getattr(dataset, key) for key in keys})
    data = open_data(config, dense_backbone(), 0, task=task)
    return data.train.images, data.search.dataset, data.test.dataset


def refused(*args):
    with pytest.raises(InputError) as caught:
        check_images(*args)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def save(values, dtype="u1"):
    return lambda path: Image.fromarray(np.asarray(values, dtype)).save(path)


MAP = np.full(SIZE[::-1], 2)
WRONG_DEPTHS = {
    "another size": (save(MAP[:-1]), "is 48 x 31 pixels, its image 48 x 32"),
    "turned": (
        save(MAP.T),
        "is 32 x 48 pixels, its image 48 x 32; one of them is turned, which an EXIF orientation",
    ),
    "colours": (save(np.stack([MAP] * 3, 2)), "must have one channel, got R, G, B; save depth"),
    "no measurement": (
        save(0 * MAP, "u2"),
        "has no depth in 0.001 to 10 m (it holds no measurement)",
    ),
    "other units": (save(20_000 * MAP, "u2"), "(it holds 40 to 40 m); see data.dataset.scale"),
    "cut off": (lambda path: path.write_bytes(path.read_bytes()[:-60]), "cannot be read as a map"),
    "no image": (lambda path: path.write_text("no"), "Pillow does not know its format"),
    "dead link": (
        lambda path: (path.unlink(), path.symlink_to("gone")),
        "cannot be read as a map: No such file or directory",
    ),
}
WRONG_LABELS = {
    "beyond the classes": (save(MAP + 5), "has the label 7, beyond the 5 classes (0 to 4)"),
    "all void": (save(0 * MAP + 255), "has no pixel of a class: all are ignored"),
    "floats": (
        lambda path: Image.fromarray(MAP.astype("f4")).save(path, "TIFF"),
        "holds float32, not integers",
    ),
}


@pytest.mark.parametrize("kind", WRONG_DEPTHS)
def test_a_wrong_depth_map_is_named(toy, tmp_path, kept, kind):
    write, message = WRONG_DEPTHS[kind]
    path = tmp_path / f"toy/depth/{BROKEN}.png"
    write(path)
    told = refused(splits(toy), kept)
    assert told.startswith(f"1 of 32 images cannot be used: {path}: ")
    assert message in told


@pytest.mark.parametrize("kind", WRONG_LABELS)
def test_a_wrong_label_map_is_named(toy, tmp_path, kept, kind):
    write, message = WRONG_LABELS[kind]
    path = tmp_path / f"toy/label/{BROKEN}.png"
    write(path)
    labels = replace(toy, targets="label/*.png", scale=None)
    told = refused(splits(labels, "segmentation"), kept)
    assert told.startswith(f"1 of 32 images cannot be used: {path}: {message}")


def test_integers_without_a_scale_are_told(toy, kept):
    told = refused(splits(replace(toy, scale=None)), kept)
    assert told.startswith("32 of 32 images cannot be used: ")
    assert told.endswith("; and 29 more")
    assert "holds integers: data.dataset.scale must say" in told


def test_an_unreadable_image_is_named(toy, tmp_path, kept):
    path = tmp_path / f"toy/rgb/{BROKEN}.png"
    path.write_bytes(path.read_bytes()[:-60])
    told = refused(splits(toy), kept)
    assert told.startswith(f"1 of 32 images cannot be used: {path}: image 5 of train cannot be ")


def test_wrong_files_of_all_splits_are_counted_in_parallel(toy, tmp_path, kept, monkeypatch):
    monkeypatch.setattr("supernet.data.image_check.IMAGES_PER_TASK", 1)
    files = [tmp_path / f"toy/depth/{i // 4:02d}_{i:03d}.png" for i in range(0, 32, 4)]
    for path in files:
        save(MAP[:, :-1])(path)
    told = refused(splits(toy), kept)
    assert told.startswith("8 of 32 images cannot be used: ")
    assert told.count("is 47 x 32 pixels, its image 48 x 32") == 3
    assert told.endswith("; and 5 more")


def test_a_pair_is_read_once_and_again_where_either_file_has_changed(toy, tmp_path, kept, opened):
    check_images(splits(toy), kept)
    assert len(opened) == len({*opened}) == 64
    opened.clear()
    check_images(splits(toy), kept)
    assert opened == []
    rgb, depth = (tmp_path / f"toy/{folder}" for folder in ("rgb", "depth"))
    shutil.copy(rgb / "00_000.png", rgb / "00_001.png")
    save(MAP)(depth / "00_002.png")
    check_images(splits(toy), kept)
    pairs = [f"{folder}/00_00{i}.png" for folder in (rgb, depth) for i in (1, 2)]
    assert sorted(opened) == sorted(pairs)


def test_a_map_is_checked_again_for_other_options_of_the_task(toy, kept, opened):
    labels = replace(toy, targets="label/*.png", scale=None)
    remapped = replace(labels, remap={4: 255})
    for dataset, section in (
        (toy, "depth"),
        (replace(toy, scale=0.0005), "depth"),
        (replace(toy, invalid=7.0), "depth"),
        (toy, {"name": "depth", "max_depth": 9.0}),
        (labels, "segmentation"),
        (remapped, "segmentation"),
        (labels, {"name": "segmentation", "classes": 6}),
        (labels, {"name": "segmentation", "classes": 6, "ignore": 3}),
    ):
        opened.clear()
        check_images(splits(dataset, section), kept)
        assert len(opened) == 64
        opened.clear()
        check_images(splits(dataset, section), kept)
        assert opened == []


def test_a_map_that_other_options_make_wrong_is_found(toy, kept):
    labels = replace(toy, targets="label/*.png", scale=None)
    check_images(splits(labels, "segmentation"), kept)
    told = refused(splits(labels, {"name": "segmentation", "classes": 4}), kept)
    assert "has the label 4, beyond the 4 classes" in told


def test_nyus_entries_are_checked_once(tmp_path, kept, monkeypatch, capsys):
    config, _, _ = write_nyu(tmp_path)
    check_images(splits(DatasetConfig(**config)), kept)
    assert "12 of 12 images opened" in capsys.readouterr().err
    monkeypatch.setattr("supernet.data.nyu.MatArray.read", None)
    check_images(splits(DatasetConfig(**config)), kept)
    assert capsys.readouterr().err == ""
    monkeypatch.undo()
    told = refused(splits(DatasetConfig(**config), {"name": "depth", "max_depth": 0.5}), kept)
    assert told.startswith(f"12 of 12 images cannot be used: {config['root']}: depths(")
