import pickle
import re
import tarfile

import numpy as np
import pytest
import torch
from image_toys import image_folder
from PIL import Image
from timm.data import create_transform, resolve_data_config
from training_toys import EVERYTHING, toy_backbone, toy_data, toy_supernet

from space import InputError
from supernet.config import AugmentConfig, DataConfig, InputConfig
from supernet.data.loaders import UserBatches
from supernet.data.source import Source
from supernet.data.sources import DatasetConfig, open_sources
from supernet.data.splits import open_data, split_indices


def test_batches_are_a_function_of_seed_epoch_and_image_in_any_worker():
    supernet = toy_supernet()
    alone, helped = (toy_data(supernet, workers, **EVERYTHING).train for workers in (0, 2))
    whole = list(alone.epoch(2))
    assert len(whole) == alone.steps > 2
    torch.manual_seed(99)
    for one, other in zip(whole[2:], helped.epoch(2, first=2), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert not torch.equal(whole[0].images, next(iter(alone.epoch(3))).images)


def test_every_training_image_comes_once_an_epoch_but_for_the_short_batch():
    train = toy_data(toy_supernet()).train
    order = np.random.default_rng((3, 0)).permutation(len(train.images))
    labels = np.concatenate([batch.targets for batch in train.epoch(0)])
    indices = train.images.indices[order[: train.steps * train.batch]]
    assert (labels == train.images.source.targets[indices]).all()
    assert len(set(indices)) == train.steps * train.batch


@pytest.mark.parametrize("augment", [{}, EVERYTHING])
def test_images_are_grey_for_a_backbone_of_one_channel(augment):
    def opened(channels):
        config = DataConfig(
            input=InputConfig(mean=(0.5,) * channels, std=(0.5,) * channels),
            augment=AugmentConfig(**augment),
            batch=16,
            workers=0,
            train_limit=100,
            test_limit=40,
        )
        return open_data(config, toy_backbone(in_chans=channels), seed=3)

    grey, colours = opened(1), opened(3)
    assert grey.input["size"] == [1, 16, 16]
    # Digits are grey, and all channels are the same.
    for one, three in zip(grey.test, colours.test, strict=True):
        assert torch.allclose(one[0].expand(-1, 3, -1, -1), three[0], atol=1e-2)
    assert next(grey.train.epoch(0)).images.shape == (16, 1, 16, 16)


def test_images_of_other_channels_are_refused():
    with pytest.raises(InputError, match=r"^backbone\.args: in_chans is 4, images have 3 channels"):
        toy_data(toy_backbone(in_chans=4))


def test_the_search_split_is_stratified_disjoint_and_stays():
    targets = np.repeat(np.arange(5), [10, 20, 30, 40, 100])
    config = DataConfig(search_share=0.2)
    pool, held = split_indices(targets, config, 0, None)
    assert np.bincount(targets[held]).tolist() == [2, 4, 6, 8, 20]
    assert sorted([*pool, *held]) == list(range(200))
    again, same = split_indices(targets, config, 0, held.tolist())
    assert (same == held).all()
    assert (again == pool).all()
    _, other = split_indices(targets, config, 1, None)
    assert held.tolist() != other.tolist()
    limited = DataConfig(search_share=0.5, search_limit=20)
    assert len(split_indices(targets, limited, 0, None)[1]) == 20


@pytest.mark.parametrize(
    ("counts", "values", "option"),
    [((40, 1), {}, "search_share"), ((40, 40), {"train_limit": 1}, "train_limit")],
)
def test_images_of_one_class_alone_are_refused(counts, values, option):
    targets = np.repeat([0, 1], counts)
    source = Source(targets, ("a", "b"), lambda i: Image.new("RGB", (8, 8)))
    config = DataConfig(batch=1, workers=0, search_share=0.2, **values)
    with pytest.raises(InputError, match=rf"^data\.{option}: leaves \d+ images of one class alone"):
        open_data(config, toy_backbone(), 0, [0] if values else None, (source, source))


def test_the_search_split_comes_in_an_order_of_chance_that_the_seed_decides():
    one, again = (toy_data(toy_supernet()) for _ in range(2))
    order = one.search.dataset.indices
    assert sorted(order) == one.search_indices.tolist()
    assert order.tolist() != one.search_indices.tolist()
    assert order.tolist() == again.search.dataset.indices.tolist()
    targets = one.train.images.source.targets
    found = torch.cat([batch[1] for batch in one.search])
    assert found.tolist() == targets[order].tolist()


def test_digits_have_a_fixed_test_split():
    train, test = open_sources(DatasetConfig())
    assert len(train) + len(test) == 1797
    assert len(train.classes) == 10
    assert test.reader(0).size == (8, 8)
    assert np.bincount(test.targets).min() >= 43


def test_digits_are_read_in_workers_that_are_spawned():
    train, _ = open_sources(DatasetConfig())
    again = pickle.loads(pickle.dumps(train))
    assert again.reader(5).tobytes() == train.reader(5).tobytes()


@pytest.mark.parametrize("attribute", ["targets", "labels"])
@pytest.mark.parametrize("kind", [list, np.asarray, torch.tensor])
def test_labels_of_any_kind_are_read(monkeypatch, attribute, kind):
    class Images:
        classes = ("cat", "dog")

        def __len__(self):
            return 4

        def __getitem__(self, i):
            return Image.new("L", (4, 4)), i % 2

    def of(labels):
        dataset = Images()
        setattr(dataset, attribute, kind(labels))
        monkeypatch.setattr("supernet.data.sources.create_dataset", lambda *a, **k: dataset)
        return open_sources(DatasetConfig(name="torch/mnist"))

    assert of([0, 1, 0, 1])[0].targets.tolist() == [0, 1, 0, 1]
    with pytest.raises(InputError, match="no labelled images"):
        of([])


def test_a_users_loader_is_told_the_epoch():
    class Sampler:
        def set_epoch(self, epoch):
            self.epoch = epoch

    class Loader:
        sampler = Sampler()

        def __len__(self):
            return 1

        def __iter__(self):
            yield torch.zeros(2, 3, 4, 4), torch.tensor([0, 1])

    batches = list(UserBatches(Loader()).epoch(7))
    assert Loader.sampler.epoch == 7
    assert batches[0].draws is None


def test_an_image_folder_is_read_and_its_synonyms_found(tmp_path):
    train, test = open_sources(image_folder(tmp_path))
    assert train.classes == test.classes == ("cat", "dog")
    assert len(train) == len(test) == 12
    data = open_data(
        DataConfig(dataset=image_folder(tmp_path / "b"), batch=4, workers=0, search_share=0.34),
        toy_backbone(),
        seed=0,
    )
    assert next(iter(data.train.epoch(0))).images.shape == (4, 3, 16, 16)


def test_fewer_test_images_are_of_all_classes_and_the_same_for_every_seed(tmp_path):
    folder = image_folder(tmp_path, count=20)
    config = DataConfig(dataset=folder, batch=4, workers=0, search_share=0.34, test_limit=16)

    def tests(seed):
        return torch.cat([batch[1] for batch in open_data(config, toy_backbone(), seed).test])

    assert 4 <= tests(0).sum() <= 12
    assert torch.equal(tests(0), tests(1))


def test_webp_and_tar_are_read(tmp_path):
    config = image_folder(tmp_path / "a")
    for split in ("train", "val"):
        for file in sorted((tmp_path / "a" / split).rglob("*.png")):
            Image.open(file).save(file.with_suffix(".webp"))
            file.unlink()
    assert len(open_sources(config)[0]) == 12
    (tmp_path / "b").mkdir()
    for split in ("train", "val"):
        with tarfile.open(tmp_path / "b" / f"{split}.tar", "w") as tar:
            for name in ("cat", "dog"):
                tar.add(tmp_path / "a" / split / name, arcname=name)
    train, test = open_sources(DatasetConfig(name="tar", root=str(tmp_path / "b")))
    assert train.classes == test.classes == ("cat", "dog")
    assert train.reader(0).size == (20, 20)


def refused(config):
    with pytest.raises(InputError) as caught:
        open_sources(config)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_wrong_with_a_folder_is_told_before_training(tmp_path):
    assert "dataset.root: missing" in refused(DatasetConfig(name="folder"))
    gone = DatasetConfig(name="folder", root=str(tmp_path / "gone"))
    assert "does not exist" in refused(gone)
    config = image_folder(tmp_path / "one", splits=("train",))
    assert "has no split 'validation'; it holds train" in refused(config)
    config = image_folder(tmp_path / "two")
    for file in (tmp_path / "two" / "val" / "dog").iterdir():
        file.unlink()
    assert "the split 'validation' has no image of class dog" in refused(config)
    (tmp_path / "three" / "train").mkdir(parents=True)
    (tmp_path / "three" / "val").mkdir()
    assert "Found 0 images" in refused(DatasetConfig(name="folder", root=str(tmp_path / "three")))
    assert "none of digits, folder" in refused(DatasetConfig(name="digts"))
    absent = DatasetConfig(name="torch/cifar10", root=str(tmp_path))
    assert "torch/cifar10" in refused(absent)


def test_an_unreadable_image_is_named_when_met(tmp_path):
    config = image_folder(tmp_path)
    broken = tmp_path / "train" / "cat" / "0.png"
    broken.write_bytes(b"no image")
    train, _ = open_sources(config)
    with pytest.raises(InputError, match=r"cat/0\.png: image 0 of train cannot be read"):
        train.reader(0)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_unreadable_image_is_one_line_wherever_it_is_loaded(tmp_path, workers):
    config = image_folder(tmp_path)
    for name in ("train", "val"):
        for image in (tmp_path / name / "cat").iterdir():
            image.write_bytes(b"no image")
    wanted = DataConfig(dataset=config, batch=4, workers=workers, search_share=0.34)
    data = open_data(wanted, toy_backbone(), seed=0)
    for batches in (data.train.epoch(0), data.search, data.test):
        with pytest.raises(InputError) as caught:
            list(batches)
        assert re.fullmatch(
            r".*/cat/\d\.png: image \d+ of \w+ cannot be read[^\\]*", str(caught.value)
        )


def test_an_interpolation_that_differs_from_image_to_image_is_refused():
    with pytest.raises(InputError, match=r"^data\.input\.interpolation: .*, got 'random'$"):
        InputConfig(interpolation="random")


def test_images_are_cropped_as_the_backbone_says():
    backbone = toy_backbone()
    backbone.pretrained_cfg = {"crop_mode": "border", "crop_pct": 0.8}
    data = open_data(DataConfig(train_limit=200), backbone, seed=0)
    assert data.input["crop_mode"] == "border"
    ours = data.test.dataset.transform.transform
    timms = create_transform(**resolve_data_config({}, model=backbone) | {"input_size": 16})
    assert str(ours) == str(timms)
    backbone.pretrained_cfg = {"crop_mode": "center", "crop_pct": 0.8}
    center = open_data(DataConfig(train_limit=200), backbone, seed=0)
    assert str(center.test.dataset.transform.transform) != str(ours)
    assert str(center.train.images.transform.transform) == str(
        data.train.images.transform.transform
    )


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("batch", 0, "must be at least 1, got 0"),
        ("eval_batch", 0, "must be at least 1, got 0"),
        ("workers", -1, "must be at least 0, got -1"),
        ("search_share", 0.0, r"must lie in \(0, 1\), got 0\.0"),
        ("search_share", 1.0, r"must lie in \(0, 1\), got 1\.0"),
        ("search_share", float("nan"), r"must lie in \(0, 1\), got nan"),
        ("search_limit", 0, "must be at least 1, got 0"),
        ("train_limit", 0, "must be at least 1, got 0"),
        ("test_limit", -5, "must be at least 1, got -5"),
    ],
)
def test_values_that_no_data_can_have_are_refused(name, value, message):
    with pytest.raises(InputError, match=rf"^data\.{name}: {message}$"):
        DataConfig(**{name: value})


def test_too_few_images_for_a_batch_are_refused():
    with pytest.raises(InputError, match=r"data\.batch: 128 is more than the 80"):
        open_data(DataConfig(train_limit=100, search_share=0.2), toy_backbone(), seed=0)
