from dataclasses import fields, replace
from itertools import chain
from types import SimpleNamespace
from urllib.error import URLError

import numpy as np
import pytest
from image_toys import image_folder

from space import InputError
from supernet.data.sources import LABEL_KEYS, MAP_KEYS, DatasetConfig, open_sources
from supernet.tasks.registry import map_value_keys


def refused(config):
    with pytest.raises(InputError) as caught:
        open_sources(config)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_every_key_says_where_the_data_is_or_is_one_of_a_task():
    places, meanings = {"name", "root", *LABEL_KEYS, *chain(*MAP_KEYS.values())}, map_value_keys()
    assert places.isdisjoint(meanings)
    assert places.union(meanings) == {field.name for field in fields(DatasetConfig)}


def test_one_class_is_refused(tmp_path):
    message = refused(image_folder(tmp_path, classes=("cat",)))
    assert "the split 'train' has the class 'cat' alone; two or more are needed" in message


@pytest.mark.parametrize("test_split", ["train", "training", "again", "train/cat", "."])
def test_a_test_split_that_holds_training_images_is_refused(tmp_path, test_split):
    config = image_folder(tmp_path)
    (tmp_path / "again").symlink_to(tmp_path / "train")
    told = refused(replace(config, test_split=test_split))
    assert told.startswith(f"dataset.test_split: {test_split!r} shares images with the training s")


@pytest.mark.parametrize(
    ("train", "test", "right"),
    [
        ("train", "validation", True),
        ("training", "test", True),
        ("train", "training", False),
        ("train", "train", False),
        ("validation", "test", False),
        ("trian", "test", False),
    ],
)
def test_splits_are_told_apart_by_what_torchvision_makes_of_their_names(
    monkeypatch, tmp_path, train, test, right
):
    def few(self, *_, train, **__):
        self.root, self.train, self.targets, self.classes = str(tmp_path), train, [0, 1], ("a", "b")
        self.data = np.zeros((2, 4, 4, 3), np.uint8)

    monkeypatch.setattr("torchvision.datasets.CIFAR10.__init__", few)
    config = DatasetConfig("torch/cifar10", str(tmp_path), train_split=train, test_split=test)
    if right:
        assert len(open_sources(config)) == 2
    else:
        assert "shares images with" in refused(config)


@pytest.mark.parametrize(
    ("train", "test", "right"),
    [
        ("train", "test", True),
        ("train[:90%]", "train[90%:]", True),
        ("train", "train", False),
        ("train", "train[90%:]", False),
        ("train[:90%]", "train", False),
    ],
)
def test_splits_of_hugging_face_are_told_apart_by_name(monkeypatch, train, test, right):
    class Dataset(list):
        def __init__(self, split):
            super().__init__([0, 1])
            self.reader = SimpleNamespace(
                root=None, split=split, targets=[0, 1], class_to_idx={"a": 0, "b": 1}
            )

    monkeypatch.setattr("supernet.data.sources._check_scriptless", lambda: None)
    monkeypatch.setattr(
        "supernet.data.sources.create_dataset", lambda *_, split, **__: Dataset(split)
    )
    config = DatasetConfig("hfds/a/b", train_split=train, test_split=test)
    if right:
        assert len(open_sources(config)) == 2
    else:
        assert "shares images with" in refused(config)


def test_torchvisions_image_folder_that_has_no_splits_is_refused(tmp_path):
    config = image_folder(tmp_path)
    assert "shares images" in refused(replace(config, name="torch/image_folder"))


def test_a_download_without_a_network_is_one_line(monkeypatch, tmp_path):
    def create_dataset(*_, **__):
        raise URLError(OSError(-2, "Name or service not known"))

    monkeypatch.setattr("supernet.data.sources.create_dataset", create_dataset)
    config = DatasetConfig("torch/cifar10", root=str(tmp_path), args={"download": True})
    with pytest.raises(InputError, match=r"dataset torch/cifar10, .*Name or service not known"):
        open_sources(config)
