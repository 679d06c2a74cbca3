"""Training with dense heads, from a user's own loader of images and maps."""

import json

import pytest
import torch
from dense_toys import (
    SECTIONS,
    dense_backbone,
    dense_images,
    dense_supernet,
    dense_task,
    depth_maps,
    label_maps,
)
from supernet_toys import OWN, pool, skip
from torch.nn.functional import interpolate
from torch.utils.data import DataLoader, TensorDataset
from training_toys import same_weights, toy_supernet, toy_task

from space import Arch, InputError
from supernet import extract
from supernet.evaluation import HeldOut
from supernet.training import train_supernet as module
from supernet.training.retrain import RetrainRecipe, retrain
from supernet.training.sandwich import LabelStep, Sandwich
from supernet.training.train_supernet import SupernetRecipe, train_supernet

RECIPE = SupernetRecipe(epochs=3, lr=1e-3, ema=0.9, random_archs=1, accumulate=2, watch=1)
ARCH = Arch((OWN, skip(0.5), skip(0.5), pool("conv2d", (2, 3))))


class Killed(BaseException):
    """Stands for a kill: nothing catches it."""


def maps_of(section, count):
    return label_maps(count) if section == "segmentation" else depth_maps(count)


def loader(section, count=16):
    """Shuffled, so that its order comes from the generators that are seeded at each epoch."""
    data = TensorDataset(dense_images(count), maps_of(section, count))
    return DataLoader(data, batch_size=4, shuffle=True)


def held_out(section):
    return [(dense_images(3, seed=9), maps_of(section, 3))]


def train(section, folder=None):
    return train_supernet(
        dense_supernet(section),
        loader(section),
        task=dense_task(section),
        recipe=RECIPE,
        held_out=held_out(section),
        folder=folder,
        seed=1,
        quiet=True,
    )


def again(section, folder, **values):
    supernet = dense_supernet(section)
    return retrain(
        extract(supernet, ARCH),
        loader(section),
        task=dense_task(section),
        recipe=RetrainRecipe(**{"epochs": 3, "ema": 0.9, **values}),
        held_out=held_out(section),
        teacher=extract(supernet, supernet.space.largest()),
        folder=folder,
        seed=2,
        quiet=True,
    )


def stop_after(monkeypatch, kind, name, count):
    """Kills a training in a later step than `count`."""
    call, calls = getattr(kind, name), []

    def stopping(self, *args, **kwargs):
        calls.append(None)
        if len(calls) > count:
            raise Killed
        return call(self, *args, **kwargs)

    monkeypatch.setattr(kind, name, stopping)


def rows(folder):
    found = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    timing = ("images_per_second", "seconds")
    return [{k: v for k, v in row.items() if k not in timing} for row in found]


@pytest.mark.parametrize(
    "section",
    [
        "depth",
        *(pytest.param(name, marks=pytest.mark.slow) for name in SECTIONS if name != "depth"),
    ],
)
def test_a_stopped_supernet_ends_as_one_that_was_not(tmp_path, monkeypatch, section):
    whole = train(section, tmp_path / "whole")
    with monkeypatch.context() as patch:
        stop_after(patch, Sandwich, "__call__", 6)
        with pytest.raises(Killed):
            train(section, tmp_path / "cut")
    resumed = train(section, tmp_path / "cut")
    assert same_weights(whole, resumed)
    assert rows(tmp_path / "whole") == rows(tmp_path / "cut")
    start = dense_supernet(section).state_dict()
    moved = {
        name for name, each in whole.state_dict().items() if not torch.equal(each, start[name])
    }
    assert {name.split(".")[0] for name in moved} >= {"head", "blocks", "selectors", "pools"}
    statistics = {name for name in start if ".running_" in name}
    assert statistics <= moved
    assert bool(statistics) is (section in ("depth", "depth_dpt"))
    metrics = [metric.name for metric in dense_task(section).metrics]
    assert {f"{name}/largest" for name in metrics} <= rows(tmp_path / "cut")[0].keys()


@pytest.mark.parametrize("section", ["segmentation", pytest.param("depth", marks=pytest.mark.slow)])
def test_a_stopped_retraining_ends_as_one_that_was_not(tmp_path, monkeypatch, section):
    whole = again(section, tmp_path / "whole")
    with monkeypatch.context() as patch:
        stop_after(patch, LabelStep, "learn_labels", 6)
        with pytest.raises(Killed):
            again(section, tmp_path / "cut")
    assert same_weights(whole, again(section, tmp_path / "cut"))
    assert rows(tmp_path / "whole") == rows(tmp_path / "cut")


@pytest.mark.slow
@pytest.mark.parametrize("section", ["depth", "depth_log", "segmentation"])
def test_a_subnet_learns_maps(section):
    """Which tell what the picture shows: its brightness."""
    rng = torch.Generator().manual_seed(0)
    coarse = torch.rand(16, 1, 3, 4, generator=rng)
    levels, shown = (interpolate(coarse, size, mode="bilinear") for size in ((32, 48), (16, 24)))
    images = (4 * shown - 2).expand(-1, 3, -1, -1)
    maps = (levels[:, 0] * 4.99).byte() if section == "segmentation" else 1 + 8 * levels[:, 0]
    task, supernet = dense_task(section), dense_supernet(section)
    subnet = extract(supernet, supernet.space.largest())
    data = DataLoader(TensorDataset(images, maps), batch_size=8)
    before = task.loss(subnet.eval()(images), maps).item()
    recipe = RetrainRecipe(epochs=40, lr=3e-3)
    retrain(subnet, data, task=task, recipe=recipe, quiet=True)
    assert task.loss(subnet(images), maps).item() < 0.6 * before


def test_a_head_of_another_task_is_refused_with_the_remedy():
    supernet = dense_supernet("segmentation")
    with pytest.raises(InputError) as error:
        train_supernet(supernet, loader("depth"), task=dense_task("depth"), recipe=RECIPE)
    assert str(error.value) == (
        "the supernet's head has 5 outputs, Identity() and the options {'batch_norm': False, "
        "'blocks': [0, 1, 2, 3], 'cls': True, 'name': 'linear'}, the task depth a linear head with "
        "256 outputs, BinDepth(0.001, 10) and the options {'batch_norm': True, 'blocks': [1, 3], "
        "'cls': True, 'name': 'linear'}; reset the head before the supernet is built"
    )
    subnet = extract(toy_supernet(), toy_supernet().space.largest())
    reason = (
        "^the subnet's head has 10 outputs, the task segmentation a linear head with .*; call "
        r"task.reset_head\(subnet, seed\) first$"
    )
    with pytest.raises(InputError, match=reason):
        retrain(subnet, loader("segmentation"), task=dense_task("segmentation"))
    dense = extract(supernet, supernet.space.largest())
    with pytest.raises(InputError, match=r"has 5 outputs, .*, the data 10 classes; call "):
        retrain(dense, [], task=toy_task())


def test_after_the_remedy_it_trains():
    supernet = dense_supernet("segmentation")
    subnet = extract(supernet, ARCH)
    task = dense_task("depth")
    task.reset_head(subnet, 3)
    recipe = RetrainRecipe(epochs=1)
    retrain(subnet, loader("depth"), task=task, recipe=recipe, quiet=True)
    assert subnet(dense_images()).shape == (4, 1, 16, 24)
    fresh = dense_backbone(task)
    assert subnet.head.state_dict().keys() == fresh.head.state_dict().keys()


def test_maps_of_another_shape_than_the_tasks_are_one_line():
    data = TensorDataset(dense_images(8), depth_maps(8)[:, None])
    with pytest.raises(InputError, match=r"^targets must be maps \(B, H, W\), got the shape"):
        train_supernet(
            dense_supernet("depth"),
            DataLoader(data, batch_size=4),
            task=dense_task("depth"),
            recipe=SupernetRecipe(epochs=1),
            quiet=True,
        )


@pytest.mark.parametrize("share", [None, 1.0])
def test_the_largest_arch_of_a_depth_supernet_learns_beside_the_others(tmp_path, share):
    # Distilled by absolute differences, the others keep its loss at nine tenths (0.25 of 0.28).
    rng = torch.Generator().manual_seed(0)
    slope = torch.linspace(-0.3, 0.3, 24) * torch.rand(32, 1, 1, generator=rng)
    brightness = (torch.rand(32, 1, 1, generator=rng) + slope).expand(32, 16, 24)
    noise = 0.05 * torch.randn(32, 3, 16, 24, generator=rng)
    data = TensorDataset(brightness[:, None] + noise, 1 + 5 * (brightness + 0.3).clamp(min=0))
    train_supernet(
        dense_supernet({"name": "depth"}),
        DataLoader(data, batch_size=8, shuffle=True),
        task=dense_task({"name": "depth"}),
        recipe=SupernetRecipe(
            epochs=8, lr=1e-3, clip=1.0, random_archs=1, watch=0, distill_share=share
        ),
        folder=tmp_path,
        quiet=True,
    )
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert rows[-1]["loss/largest"] < 0.5 * rows[0]["loss/largest"]


def test_selectors_are_measured_on_enough_images_however_small_the_batches_are(monkeypatch):
    seen = []

    class Operator:
        def measure(self, model, images):
            seen.append([len(each) for each in images])
            return {}

    monkeypatch.setattr(module, "token_operator", lambda name: Operator())
    monkeypatch.setattr(module, "OPERATOR_METRIC_IMAGES", 5)
    batches = [(torch.zeros(n, 1), torch.zeros(n, 2, 2)) for n in (1, 3, 2, 4)]
    held_out = HeldOut(batches, toy_task(), torch.device("cpu"))
    assert module._evaluate(held_out, {}, None) == {}
    assert seen
    assert all(sizes == [1, 3, 2] for sizes in seen)
