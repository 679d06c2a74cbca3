"""Splits and batches of data whose targets are maps."""

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from dense_toys import SIZE, dense_backbone, dense_task, write_pairs
from PIL import Image
from training_toys import toy_task

from space import InputError
from supernet.config import AugmentConfig, DataConfig, DatasetConfig, InputConfig
from supernet.data.source import Source
from supernet.data.sources import open_sources
from supernet.data.splits import open_data, split_indices
from supernet.evaluation import HeldOut

AUGMENT = AugmentConfig(rotation=5.0, color_jitter=0.3, hflip=0.5, crop_scale=(0.3, 1.0))


@pytest.fixture
def toy(tmp_path):
    """24 training images of six scenes, and eight to test on."""
    return DatasetConfig(**write_pairs(tmp_path))


def opened(dataset, seed=3, section="depth", split=None, backbone=None, **values):
    meaning = {key: getattr(dataset, key) for key in ("scale", "invalid", "remap")}
    args = {"batch": 4, "workers": 0, "search_share": 0.2, "augment": AUGMENT, **values}
    config = DataConfig(dataset=dataset, **args)
    task = dense_task(section, **meaning)
    return open_data(config, backbone or dense_backbone(), seed, split, task=task)


def refused(*args, **values):
    with pytest.raises(InputError) as caught:
        opened(*args, **values)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_search_split_is_of_whole_scenes_and_stays(toy):
    splits = set()
    for seed in range(10):
        data = opened(toy, seed)
        scenes, held = data.train.images.source.scenes, data.search_indices
        rest = data.train.images.indices
        assert sorted([*held, *rest]) == list(range(24))
        assert len(held) == 4
        assert not {*scenes[held]} & {*scenes[rest]}
        again = opened(toy, seed, split=held.tolist())
        assert again.search_indices.tolist() == held.tolist()
        assert again.train.images.indices.tolist() == rest.tolist()
        splits.add(tuple(held))
    assert len(splits) > 2


def test_limits_keep_scenes_whole(toy):
    data = opened(toy, train_limit=14)
    scenes = data.train.images.source.scenes
    rest, held = data.train.images.indices, data.search_indices
    assert len(rest) + len(held) == 14
    assert not {*scenes[held]} & {*scenes[rest]}
    assert len(opened(toy, search_share=0.9, search_limit=8).search_indices) == 8
    reason = "data.search_limit: 3 is below the images of every scene; the smallest one has 4 "
    assert refused(toy, search_limit=3).startswith(reason)


def test_a_stored_split_of_other_data_is_refused(toy):
    other = "the stored search split is of other data: it has "
    assert refused(toy, split=[0, 1]) == f"{other}a part of a scene that is trained on"
    assert refused(toy, split=[24]) == f"{other}images beyond the 24 that there are"
    assert opened(toy, split=[0, 1, 2, 3]).search_indices.tolist() == [0, 1, 2, 3]


def test_without_scenes_single_images_are_held_out(toy):
    data = opened(replace(toy, scenes=None))
    assert len(data.search_indices) == 5
    numbers = np.arange(24) // 4
    assert {*numbers[data.search_indices]} & {*numbers[data.train.images.indices]}
    config = DataConfig(search_share=0.5)
    pool, held = split_indices(np.zeros(10), config, 0, None, np.arange(10) % 2)
    assert {*pool % 2} != {*held % 2}


def test_batches_have_maps_in_the_units_of_the_task(toy, tmp_path):
    data = opened(toy)
    batch = next(data.train.epoch(0))
    assert batch.images.shape == (4, 3, *SIZE)
    assert batch.targets.shape == (4, *SIZE)
    assert batch.targets.dtype == torch.float32
    (test,) = data.test
    # Of the whole image, in metres, and no target beyond the greatest depth.
    stored = np.asarray(Image.open(tmp_path / "depth/06_024.png"))
    metres = np.where(stored <= 10_000, stored / 1000, 0)
    np.testing.assert_allclose(test.targets[0], metres, rtol=1e-6)
    assert test.images.shape == (8, 3, *SIZE)
    assert (data.input["crop_pct"], data.input["crop_mode"]) == (1.0, "squash")
    labels = opened(replace(toy, targets="label/*.png", scale=None), section="segmentation")
    (test,) = labels.test
    assert (test.targets.dtype, test.targets.shape) == (torch.uint8, (8, 32, 48))


def test_batches_are_a_function_of_seed_epoch_and_image_in_any_worker(toy):
    alone, helped = (opened(toy, workers=workers).train for workers in (0, 2))
    whole = list(alone.epoch(2))
    assert len(whole) == alone.steps > 3
    torch.manual_seed(99)
    for one, other in zip(whole[2:], helped.epoch(2, first=2), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    for other in (next(alone.epoch(3)), next(opened(toy, seed=4).train.epoch(2))):
        assert not torch.equal(whole[0].images, other.images)
        assert not torch.equal(whole[0].targets, other.targets)


@pytest.mark.parametrize("workers", [0, 2])
def test_maps_of_several_sizes_come_in_a_batch_for_each(toy, tmp_path, workers):
    sizes = [(32, 48), (20, 30), (32, 48), (20, 30), (24, 24), (32, 48), (24, 24), (32, 48)]
    for i, size in enumerate(sizes):
        for folder in ("rgb", "depth"):
            path = tmp_path / folder / f"{(24 + i) // 4:02d}_{24 + i:03d}.png"
            with Image.open(path) as image:
                image.resize(size[::-1], Image.Resampling.NEAREST).save(path)
    data = opened(toy, workers=workers, eval_batch=6)
    batches = list(data.test)
    shapes = [tuple(batch.targets.shape) for batch in batches]
    first = [(3, 32, 48), (2, 20, 30), (1, 24, 24)]
    assert shapes == [*first, (1, 24, 24), (1, 32, 48)]
    source, order = data.test.dataset.source, [0, 2, 5, 1, 3, 4, 6, 7]
    targets = [target for batch in batches for target in batch.targets]
    for i, target in zip(order, targets, strict=True):
        np.testing.assert_array_equal(target, source.read(i)[1])


def test_the_order_of_evaluated_images_does_not_depend_on_the_batch_size(toy, tmp_path):
    for i in range(0, 8, 3):
        for folder in ("rgb", "depth"):
            path = tmp_path / folder / f"{(24 + i) // 4:02d}_{24 + i:03d}.png"
            with Image.open(path) as image:
                image.resize((30, 20), Image.Resampling.NEAREST).save(path)
    found = []
    for size in (1, 3, 8):
        split = opened(toy, eval_batch=size).test
        batches = HeldOut(split, dense_task("depth"), torch.device("cpu")).batches
        found.append([image for batch in batches for image in batch.images])
    assert len(found[0]) == 8
    for each in found[1:]:
        assert all(map(torch.equal, found[0], each))


def test_files_are_told_by_name_and_label_wherever_they_are(tmp_path):
    found = []
    for place in ("here", "there/and/there"):
        folder = tmp_path / place
        folder.mkdir(parents=True)
        source = open_sources(DatasetConfig(**write_pairs(folder)))[0]
        found.append(source.list_digest())
        assert replace(source, reader=other_names(source)).list_digest() != found[-1]
    assert found[0] == found[1]
    labels = (
        Source(np.arange(9), ("a",), source.reader),
        Source(np.arange(1, 10), ("a",), source.reader),
    )
    assert labels[0].list_digest() != labels[1].list_digest()


def test_maps_are_told_by_what_the_task_reads(tmp_path):
    source = open_sources(DatasetConfig(**write_pairs(tmp_path)))[0]
    found = source.maps_digest(range(3))
    assert found == source.maps_digest(iter([0, 1, 2])) != source.maps_digest([0, 2, 1])
    assert replace(source, decode=lambda each: 2 * each).maps_digest(range(3)) != found
    path = Path(source.targets.name(2))
    with Image.open(path) as image:
        pixels = np.asarray(image).copy()
        Image.fromarray(pixels).save(path, compress_level=0)
    assert source.maps_digest(range(3)) == found  # the same values, in another file
    pixels[0, 0] += 1
    Image.fromarray(pixels).save(path)
    assert source.maps_digest(range(3)) != found


def test_no_image_is_read_for_its_name():
    class Reader:
        files = None

        def name(self, i):
            raise AssertionError("reads image i, as timm's reader of Hugging Face's data sets does")

    few, more = (Source(np.zeros(count, np.int64), ("a",), Reader()) for count in (3, 4))
    assert few.list_digest() != more.list_digest()


def other_names(source):
    """The reader with one name more to its last image."""
    reader, last = copy.copy(source.reader), len(source) - 1
    reader.name = lambda i: source.reader.name(i) + "x" * (i == last)
    return reader


@pytest.mark.parametrize("workers", [0, 1])
def test_a_wrong_map_is_one_line_wherever_it_is_loaded(toy, tmp_path, workers):
    for path in (tmp_path / "depth").iterdir():
        Image.new("L", (48, 32)).save(path)
    data = opened(toy, workers=workers)
    for batches in (data.train.epoch(0), data.search, data.test):
        with pytest.raises(InputError) as caught:
            list(batches)
        assert str(caught.value).startswith(f"{tmp_path}/depth/0")
        assert "has no depth in 0.001 to 10 m" in str(caught.value)
        assert "\n" not in str(caught.value)


def test_grey_backbones_are_given_grey_images(toy):
    colours, grey = (opened(toy, backbone=dense_backbone(in_chans=channels)) for channels in (3, 1))
    batch, other = next(grey.train.epoch(0)), next(colours.train.epoch(0))
    assert batch.images.shape == (4, 1, *SIZE)
    assert torch.equal(batch.targets, other.targets)
    assert grey.input["size"] == [1, *SIZE]


def test_data_of_another_task_is_refused(toy):
    needs = "data.dataset.name: the targets of pairs are maps, the task classification needs labels"
    config = DataConfig(dataset=replace(toy, scale=None))
    for task in (None, toy_task()):
        with pytest.raises(InputError, match=f"^{needs}; set task.name, such as depth$"):
            open_data(config, dense_backbone(), 0, task=task)
    assert refused(DatasetConfig()) == (
        "data.dataset.name: the targets of digits are labels, the task depth needs maps; take "
        "pairs or nyu"
    )


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        ("segmentation", {"scale": 0.001}, "scale: 0.001 is not for the task segmentation"),
        ("segmentation", {"invalid": 0.0}, "invalid: 0.0 is not for the task segmentation"),
        ("depth", {"remap": {0: 255}}, "remap: {0: 255} is not for the task depth"),
        ("depth", {"reduce_zero_label": False}, "reduce_zero_label: False is not for the task de"),
    ],
)
def test_what_the_values_of_other_maps_mean_is_refused(toy, section, values, message):
    dataset = replace(toy, **{"scale": None, **values})
    assert refused(dataset, section=section).startswith(f"data.dataset.{message}")


def test_a_crop_of_evaluation_is_refused(toy):
    assert refused(toy, input=InputConfig(crop_pct=0.9)) == (
        "data.input.crop_pct: 0.9 is for classification; evaluation on maps sees the whole image"
    )


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_a_scale_that_no_file_has_is_refused(value):
    with pytest.raises(InputError, match=r"^data\.dataset\.scale: must be finite and over 0, got "):
        DatasetConfig(scale=value)
