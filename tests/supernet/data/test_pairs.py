"""Pairs of images and maps, in the layouts that people have."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from dense_toys import dense_task, write_pairs
from PIL import Image

from space import InputError
from supernet.config import DatasetConfig
from supernet.data.sources import open_sources

RNG = np.random.default_rng(0)


def save_image(path, size=(6, 8), **args):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(RNG.integers(0, 256, (*size, 3), dtype=np.uint8)).save(path, **args)


def save_map(path, size=(6, 8), value=1, dtype="u1"):
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.full(size, value, dtype)
    np.save(path, values) if path.suffix == ".npy" else Image.fromarray(values).save(path)


def opened(**values):
    return open_sources(DatasetConfig(name="pairs", **values))


def names(source):
    """The names of files of a source's images, and of its maps."""
    images = [Path(path).name for path, _ in source.reader.files]
    return images, [Path(path).name for path in source.targets.paths]


def refused(config=None, **values):
    with pytest.raises(InputError) as caught:
        open_sources(config or DatasetConfig(**{"name": "pairs", **values}))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def toy(tmp_path):
    """Pairs in `rgb` and `depth`, with lists of names."""
    return write_pairs(tmp_path / "toy", train=8, test=4, maps=("depth",))


def test_lists_of_names(toy, tmp_path):
    train, test = open_sources(DatasetConfig(**toy))
    assert (len(train), len(test)) == (8, 4)
    assert train.has_maps
    assert train.classes == ()
    image, depth = train.read(3)
    assert (image.size, image.mode) == ((48, 32), "RGB")
    stored = np.asarray(Image.open(tmp_path / "toy/depth/00_003.png"))
    np.testing.assert_array_equal(depth, stored)
    assert names(test)[0] == [f"02_{i:03d}.png" for i in range(8, 12)]


def test_names_of_a_list_are_in_the_order_of_names_whatever_its_own(toy, tmp_path):
    path = tmp_path / "toy/train.txt"
    before = names(open_sources(DatasetConfig(**toy))[0])
    path.write_text("\r\n".join(reversed(path.read_text().split())))
    assert names(open_sources(DatasetConfig(**toy))[0]) == before


def test_folders_of_splits(tmp_path):
    for split in ("train", "val"):
        for scene in "ab":
            save_image(tmp_path / split / scene / f"rgb_{split}.jpg")
            save_map(tmp_path / split / scene / f"sync_depth_{split}.png", dtype="u2")
    train, test = opened(
        root=str(tmp_path), images="*/rgb_*.jpg", targets="*/sync_depth_*.png", train="train",
        test=str(tmp_path / "val"), scenes=r"^([^/]+)/",
    )  # fmt: skip
    assert names(train) == (["rgb_train.jpg"] * 2, ["sync_depth_train.png"] * 2)
    assert names(test) == (["rgb_val.jpg"] * 2, ["sync_depth_val.png"] * 2)
    assert train.scenes.tolist() == [0, 1]
    assert test.scenes is None


def test_ade20ks_folders(tmp_path):
    for split, part in (("training", "train"), ("validation", "val")):
        for i in range(3):
            save_image(tmp_path / f"images/{split}/ADE_{part}_{i}.jpg", (6, 7 + i))
            save_map(tmp_path / f"annotations/{split}/ADE_{part}_{i}.png", (6, 7 + i), 150)
    train, test = opened(
        root=str(tmp_path), images="images/{split}/*.jpg", targets="annotations/{split}/*.png",
        train="training", test="validation", reduce_zero_label=True,
    )  # fmt: skip
    assert (len(train), len(test)) == (3, 3)
    assert [target.shape for _, target in map(test.read, range(3))] == [(6, 7), (6, 8), (6, 9)]
    task = dense_task({"name": "segmentation", "classes": 150}, reduce_zero_label=True)
    assert (task.decode(train.read(0)[1]) == 149).all()


def test_cityscapes_folders(tmp_path):
    for split, city in (("train", "aachen"), ("train", "ulm"), ("val", "munster")):
        for kind in ("labelIds", "instanceIds", "color"):
            save_map(tmp_path / f"gtFine/{split}/{city}/{city}_0_1_gtFine_{kind}.png", value=7)
        save_image(tmp_path / f"leftImg8bit/{split}/{city}/{city}_0_1_leftImg8bit.png")
    train, test = opened(
        root=str(tmp_path), images="leftImg8bit/{split}/*/*_leftImg8bit.png",
        targets="gtFine/{split}/*/*_gtFine_labelIds.png", train="train", test="val",
        remap={7: 0, 0: 255}, scenes="^[^/]+",
    )  # fmt: skip
    cities = ["aachen", "ulm"]
    assert names(train)[1] == [f"{city}_0_1_gtFine_labelIds.png" for city in cities]
    assert names(test)[0] == ["munster_0_1_leftImg8bit.png"]
    assert train.scenes.tolist() == [0, 1]
    task = dense_task({"name": "segmentation", "classes": 19}, remap={7: 0, 0: 255})
    assert (task.decode(train.read(0)[1]) == 0).all()


def test_vocs_lists_below_a_folder_of_more_images_than_maps(tmp_path):
    for i in range(5):
        save_image(tmp_path / f"JPEGImages/2007_{i}.jpg")
    for i in range(3):
        save_map(tmp_path / f"SegmentationClass/2007_{i}.png", value=i)
    lists = tmp_path / "ImageSets/Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("2007_2\n2007_0\n")
    (lists / "val.txt").write_text("2007_1\n")
    config = {
        "root": str(tmp_path),
        "images": "JPEGImages/*.jpg",
        "targets": "SegmentationClass/*.png",
        "train": "ImageSets/Segmentation/train.txt",
        "test": "ImageSets/Segmentation/val.txt",
    }
    train, test = opened(**config)
    assert [train.read(i)[1].max() for i in range(2)] == [0, 2]
    assert len(test) == 1
    (lists / "val.txt").write_text("2007_1\n2007_3\n2007_4\n")
    assert refused(**config) == (
        f"{tmp_path}/JPEGImages/2007_3.jpg: has no partner {tmp_path}/SegmentationClass/*.png with "
        "'2007_3' for the stars, and 1 more have none"
    )


def test_two_roots_and_any_suffixes(tmp_path, monkeypatch):
    for i, suffix in enumerate((".jpg", ".png", ".webp")):
        save_image(tmp_path / f"one/{i}{suffix}")
        save_map(tmp_path / f"two/maps/{i}.npy", value=i, dtype="f4")
    (tmp_path / "three").mkdir()
    (tmp_path / "three/train.txt").write_text("0\n2\n")
    (tmp_path / "three/test.txt").write_text("1\n")
    lists = {"train": "train.txt", "test": "test.txt"}
    images = str(tmp_path / "one/*.*")
    root = str(tmp_path / "three")
    train, _ = opened(root=root, images=images, targets="../two/maps/*.*", **lists)
    assert names(train) == (["0.jpg", "2.webp"], ["0.npy", "2.npy"])
    monkeypatch.chdir(root)
    _, test = opened(images=images, targets=str(tmp_path / "two/maps/*.npy"), **lists)
    assert names(test) == (["1.png"], ["1.npy"])


def test_absolute_patterns_with_the_split_in_its_place(tmp_path):
    for split in ("train", "val"):
        save_image(tmp_path / f"one/{split}/{split}.jpg")
        save_map(tmp_path / f"two/{split}/{split}.png")
    images, targets = (f"{tmp_path}/{x}/{{split}}/*.*" for x in ("one", "two"))
    train, test = opened(images=images, targets=targets, train="train", test="val")
    assert names(train) == (["train.jpg"], ["train.png"])
    assert names(test) == (["val.jpg"], ["val.png"])


def test_links_are_followed_and_one_image_is_not_in_both_splits(toy, tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "toy")
    config = {**toy, "root": str(tmp_path / "link")}
    assert len(open_sources(DatasetConfig(**config))[0]) == 8
    with (tmp_path / "toy/test.txt").open("a") as file:
        file.write("00_001\n")
    message = refused(DatasetConfig(**config))
    assert message == (
        f"data.dataset.test: {tmp_path}/link/rgb/00_001.png is in the training split too"
    )
    (tmp_path / "toy/rgb/alias.png").symlink_to(tmp_path / "toy/rgb/00_001.png")
    (tmp_path / "toy/depth/alias.png").symlink_to(tmp_path / "toy/depth/00_001.png")
    (tmp_path / "toy/test.txt").write_text("alias\n")
    assert "rgb/alias.png is in the training split too" in refused(DatasetConfig(**config))


@pytest.mark.parametrize("key", ["images", "targets", "train", "test"])
def test_a_missing_key_is_named(toy, key):
    for nothing in (None, ""):
        message = refused(**{**toy, key: nothing})
        assert message == f"data.dataset.{key}: missing; pairs need it"


def test_what_is_wrong_with_a_split_names_its_key(toy, tmp_path):
    root = toy["root"]
    gone = str(tmp_path / "gone")
    assert refused(**{**toy, "root": gone}) == f"data.dataset.root: {gone} is no folder"
    assert refused(**{**toy, "train": "trian.txt"}) == (
        f"data.dataset.train: {root}/trian.txt is neither a text file of names nor a folder"
    )
    assert refused(**{**toy, "images": "rgb/*.jpg"}).startswith(
        f"data.dataset.images: no file matches {root}/rgb/*.jpg: {root}/rgb holds 00_000.png, "
    )
    assert refused(**{**toy, "targets": "{split}/*.png"}) == (
        "data.dataset.images: rgb/*.png must have {split}, as {split}/*.png has it"
    )
    assert refused(**{**toy, "images": "rgb/{split}/*.png"}) == (
        "data.dataset.train: train.txt is a text file of names, which cannot take the place of "
        "{split} in rgb/{split}/*.png; put a star there, or name a folder"
    )
    assert refused(**{**toy, "images": f"{root}/rgb/*.png", "train": "depth"}) == (
        f"data.dataset.images: {root}/rgb/*.png is absolute, so it must have {{split}} in place of "
        "the folder that data.dataset.train names"
    )
    assert refused(**{**toy, "targets": "depth/*_*.png"}) == (
        f"data.dataset.targets: no file belongs to an image: the stars of {root}/rgb/*.png stand "
        f"for names such as '00_000', those of {root}/depth/*_*.png for '00/000'"
    )


@pytest.mark.parametrize(("gone", "left"), [("depth", "rgb"), ("rgb", "depth")])
def test_a_file_without_a_partner_is_named(toy, tmp_path, gone, left):
    root = tmp_path / "toy"
    (root / gone / "00_002.png").unlink()
    (root / gone / "01_005.png").unlink()
    assert refused(**toy) == (
        f"{root}/{left}/00_002.png: has no partner {root}/{gone}/*.png with '00_002' for the "
        "stars, and 1 more have none"
    )


def test_the_keys_of_other_data_sets_are_refused(toy, tmp_path):
    own = "is for data sets whose targets are labels, not for pairs"
    for key, value in (("train_split", "a"), ("test_split", "b"), ("args", {"download": True})):
        assert refused(**{**toy, key: value}) == f"data.dataset.{key}: {own}"
    for key, value, kinds in (
        ("images", "a", "pairs"),
        ("train", "a", "pairs"),
        ("scenes", "a", "pairs"),
        ("test", "a", "pairs and nyu"),
        ("scale", 0.5, "pairs and nyu"),
        ("remap", {0: 1}, "pairs and nyu"),
        ("reduce_zero_label", False, "pairs and nyu"),
    ):
        for name in ("digits", "folder", "torch/cifar10"):
            assert refused(name=name, **{key: value}) == (
                f"data.dataset.{key}: is for {kinds}, not for {name}"
            )
    assert "none of digits, folder" in refused(name="pears")


def test_an_image_is_turned_as_its_exif_says(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    for i in range(2):
        save_image(tmp_path / f"rgb/{i}.jpg", (6, 8), exif=exif, quality=100)
        save_map(tmp_path / f"map/{i}.png", (8, 6))
    for i, split in enumerate(("train", "test")):
        (tmp_path / f"{split}.txt").write_text(f"{i}\n")
    patterns = {"images": "rgb/*.jpg", "targets": "map/*.png"}
    config = {"root": str(tmp_path), **patterns, "train": "train.txt", "test": "test.txt"}
    train, _ = opened(**config)
    image, target = train.read(0)
    assert image.size == (6, 8)
    assert target.shape == (8, 6)
    with Image.open(tmp_path / "rgb/0.jpg") as stored:
        np.testing.assert_array_equal(np.asarray(image), np.rot90(np.asarray(stored), -1))
    save_map(tmp_path / "map/0.png", (6, 8))
    with pytest.raises(InputError) as caught:
        train.read(0)
    assert str(caught.value) == (
        f"{tmp_path}/map/0.png: is 8 x 6 pixels, its image 6 x 8; one of them is turned, which "
        "an EXIF orientation does too"
    )


def test_sources_are_read_alike_where_they_were_pickled_to(toy):
    train, _ = open_sources(DatasetConfig(**toy))
    again = pickle.loads(pickle.dumps(train))
    for one, other in zip(train.read(5), again.read(5), strict=True):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))
    assert again.digest(5) == train.digest(5)
