"""What every task must keep: the registered ones, and one that is defined in a test file."""

import json
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch
import toy_task
from dense_toys import (
    SECTIONS,
    dense_backbone,
    dense_images,
    depth_maps,
    label_maps,
    plain_network,
)

from space.utils.errors import InputError
from space.utils.reader import Reader
from supernet.config import AugmentConfig, DataConfig
from supernet.evaluation import HeldOut
from supernet.tasks.base import read_task
from supernet.tasks.registry import (
    TaskEntry,
    find_metric,
    task_class,
    task_entry,
    task_names,
)

CLASSES = tuple("0123456789")
COUNT = 12


def labels(count):
    return torch.from_numpy(np.random.default_rng(0).integers(10, size=count))


# The sections of each task, and targets of a batch; whoever adds one adds them here.
TARGETS = {
    "classification": labels,
    toy_task.NAME: labels,
    "depth": depth_maps,
    "segmentation": label_maps,
}
CASES = {name: {"name": name} for name in ("classification", toy_task.NAME)} | SECTIONS


def test_every_task_is_under_contract():
    names = {*task_names(), toy_task.NAME}
    assert names == set(TARGETS) == {section["name"] for section in CASES.values()}


def read(section):
    reader = Reader(section, ("task",))
    return task_class(section["name"]).from_config(reader, CLASSES, DataConfig())


@pytest.fixture(params=CASES)
def section(request):
    return CASES[request.param]


@pytest.fixture
def one(section):
    """A task, a network with a head for it, images and targets."""
    with nullcontext() if section["name"] in task_names() else toy_task.registered():
        task, backbone = read(section), dense_backbone()
        task.reset_head(backbone, 0)
        network = plain_network(backbone).double().eval()
        yield task, network, dense_images(COUNT).double(), TARGETS[section["name"]](COUNT)


def test_its_metrics_are_told_in_one_place(one):
    task, _, _, _ = one
    assert task.metrics == task_entry(task.name).metrics
    for metric in task.metrics:
        assert find_metric(metric.name) == metric
        assert metric.title
    assert task.directions == {metric.name: metric.direction for metric in task.metrics}


def test_its_losses_are_float32_under_autocast(one):
    task, network, images, targets = one
    with torch.autocast("cpu", torch.bfloat16):
        output = network.float()(images.float())
        # The maps of depth are float32 already.
        assert output.dtype == (torch.float32 if task.name == "depth" else torch.bfloat16)
        losses = task.loss(output, targets), task.distillation(output, output.flip(0))
    for loss in losses:
        assert loss.dtype == torch.float32
        assert loss.isfinite()


def test_it_fits_its_own_head_alone(one):
    task, network, _, _ = one
    assert task.fits(network)
    network.reset_classifier(task.outputs + 1)
    assert not task.fits(network)
    assert task.needs
    assert task.contents


def test_its_head_is_reset_to_the_same_each_time(one):
    task, _, images, _ = one
    states, outputs = [], []
    for mode in (True, False):
        backbone, before = dense_backbone().train(mode), torch.random.get_rng_state()
        assert not task.fits(backbone)
        task.reset_head(backbone, 3)
        task.reset_head(backbone, 5)
        assert task.fits(backbone)
        assert torch.equal(torch.random.get_rng_state(), before)
        assert backbone.head.training is mode
        states.append(backbone.head.state_dict())
        outputs.append(plain_network(backbone).double().eval()(images))
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert torch.equal(*outputs)
    assert len(outputs[0]) == COUNT


def test_its_head_is_of_the_backbones_dtype_and_device(one):
    task, _, _, _ = one
    for like in (torch.zeros((), dtype=torch.float64), torch.zeros((), device="meta")):
        backbone = dense_backbone().to(like)
        task.reset_head(backbone, 0)
        for tensor in backbone.head.parameters():
            assert (tensor.dtype, tensor.device) == (like.dtype, like.device)


def test_it_is_known_again_by_plain_values(one, section):
    task, _, _, _ = one
    identity = json.dumps(task.identity())
    assert json.loads(identity) is not None
    assert json.dumps(read(section).identity()) == identity


def test_its_section_in_a_file_gives_the_same_head(one):
    task, network, images, _ = one
    section = json.loads(json.dumps(task.section()))
    if not section:
        assert task.outputs > 0  # timm's head is made by the backbone's own arguments
        return
    again, backbone = read_task(section, task.classes), dense_backbone()
    assert again.section() == task.section()
    again.reset_head(backbone, 0)
    assert task.fits(backbone)
    assert again.fits(network)
    other = plain_network(backbone).double().eval()
    assert torch.equal(other(images), network(images))


def test_its_loss_reaches_every_weight_that_works(one):
    task, network, images, targets = one
    loss = task.loss(network(images), targets)
    assert loss.shape == ()
    loss.backward()
    assert all(parameter.grad is not None for parameter in network.head.parameters())
    assert sum(parameter.grad.abs().sum() for parameter in network.head.parameters()) > 0
    assert network.patch_embed.proj.weight.grad.abs().sum() > 0


def test_losses_are_means_over_images(one):
    """Else the gradients of two processes would not be those of one on the joined batch."""
    task, network, images, targets = one
    output = network(images).detach()
    teacher = output + 0.1 * torch.rand_like(output)
    half = COUNT // 2
    for loss, other in ((task.loss, targets), (task.distillation, teacher)):
        halves = [loss(output[part], other[part]) for part in (slice(half), slice(half, None))]
        torch.testing.assert_close(sum(halves) / 2, loss(output, other), rtol=1e-12, atol=0)


def test_nothing_is_learned_from_oneself_and_the_teacher_learns_nothing(one):
    task, network, images, _ = one
    output = network(images)
    assert task.distillation(output, output.detach()).item() == pytest.approx(0, abs=1e-12)
    teacher = (output.detach() + torch.rand_like(output)).requires_grad_()
    loss = task.distillation(output, teacher)
    loss.backward()
    assert loss.item() > 0
    assert teacher.grad is None
    assert network.patch_embed.proj.weight.grad.abs().sum() > 0


def test_metrics_are_reduced_from_statistics_of_each_image(one):
    task, network, images, targets = one

    def measured(*sizes):
        parts = zip(images.split(sizes), targets.split(sizes), strict=True)
        held_out = HeldOut(parts, task, torch.device("cpu"))
        held_out.set_reference(network)
        found = held_out.statistics(network)
        assert all(len(each) == COUNT for each in found.values())
        return found, held_out.measure(network)

    statistics, whole = measured(COUNT)
    assert list(whole) == [metric.name for metric in task.metrics if metric.name in whole]
    assert task.metrics[0].name in whole
    for sizes in ((4, 4, 4), (1, COUNT - 1), (1,) * COUNT):
        parts, metrics = measured(*sizes)
        assert metrics == pytest.approx(whole, rel=1e-9, abs=1e-12)
        assert parts.keys() == statistics.keys()
        for name, values in parts.items():
            np.testing.assert_allclose(values, statistics[name], rtol=1e-9, atol=1e-12)


def test_batches_are_mixed_without_changing_what_was_given(one):
    task, _, images, targets = one
    before = images.clone(), targets.clone()
    mixed, labels = task.mix(images, targets)
    assert len(mixed) == len(labels) == len(images)
    assert torch.equal(images, before[0])
    assert torch.equal(targets, before[1])
    task.check_batch(COUNT)


def test_every_image_has_a_stratum(one):
    task, _, _, targets = one
    strata = task.strata(targets.numpy())
    assert strata.shape == (len(targets),)
    assert strata.dtype == np.int64


def test_a_sample_is_transformed_to_tensors(one):
    task, network, _, targets = one
    size = (3, *network.patch_embed.img_size)
    values = {"mean": (0.5,) * 3, "std": (0.5,) * 3, "interpolation": "bilinear", "crop_pct": 1.0}
    image = pytest.importorskip("PIL.Image").new("RGB", (48, 32))
    target = targets[0].numpy() if task.dense else int(targets[0])
    for augment in (None, AugmentConfig()):
        pixels, found = task.transform({"input_size": size, **values}, augment)(image, target)
        assert pixels.shape == size
        assert isinstance(found, torch.Tensor) is task.dense


def test_metrics_of_one_name_are_one_metric():
    top1 = task_entry("classification").metrics[0]
    clash = replace(top1, direction="min")
    with (
        pytest.raises(InputError, match="metric 'top1': differs from another task's metric"),
        toy_task.registered("clash", TaskEntry("toy_task:Number", (clash,))),
    ):
        raise AssertionError("registered")
    assert "clash" not in task_names()
    with toy_task.registered("same", TaskEntry("toy_task:Number", (top1,))):
        assert find_metric("top1") == top1
