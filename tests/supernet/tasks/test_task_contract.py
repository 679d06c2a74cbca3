"""What every task must keep: the registered ones, and one that is defined in a test file."""

import json
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch
import toy_task
from training_toys import toy_backbone

from space.utils.errors import InputError
from space.utils.reader import Reader
from supernet.config import AugmentConfig
from supernet.evaluation import HeldOut
from supernet.tasks.registry import (
    TaskEntry,
    find_metric,
    task_class,
    task_entry,
    task_names,
)

CLASSES = tuple("0123456789")
# Targets of a batch for each task; whoever adds one adds them here.
TARGETS = {
    "classification": lambda rng, count: torch.from_numpy(rng.integers(10, size=count)),
    toy_task.NAME: lambda rng, count: torch.from_numpy(rng.integers(10, size=count)),
}


def test_every_task_is_under_contract():
    assert {*task_names(), toy_task.NAME} == set(TARGETS)


@pytest.fixture(params=TARGETS)
def one(request):
    """A task, a network with a head for it, images and targets."""
    name = request.param
    with nullcontext() if name in task_names() else toy_task.registered():
        section = Reader({"name": name}, ("task",))
        task = task_class(name).from_config(section, CLASSES, AugmentConfig())
        backbone = toy_backbone()
        task.reset_head(backbone, 0)
        rng = np.random.default_rng(0)
        images = torch.from_numpy(rng.normal(size=(24, 3, 16, 16))).float()
        yield task, backbone.eval(), images, TARGETS[name](rng, 24)


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
        output = network(images)
        assert output.dtype == torch.bfloat16
        losses = task.loss(output, targets), task.distillation(output, output.flip(0))
    for loss in losses:
        assert loss.dtype == torch.float32
        assert loss.isfinite()


def test_it_fits_its_own_head_alone(one):
    task, backbone, images, _ = one
    assert task.fits(backbone)
    assert backbone(images).shape == (len(images), task.outputs)
    before = [parameter.clone() for parameter in backbone.head.parameters()]
    task.reset_head(backbone, 0)
    assert all(map(torch.equal, before, backbone.head.parameters()))
    backbone.reset_classifier(task.outputs + 1)
    assert not task.fits(backbone)
    assert task.needs


def test_it_is_known_again_by_plain_values(one):
    task, _, _, _ = one
    assert json.loads(json.dumps(task.identity())) is not None
    section = Reader({"name": task.name}, ("task",))
    again = type(task).from_config(section, CLASSES, AugmentConfig())
    assert json.dumps(again.identity()) == json.dumps(task.identity())


def test_its_loss_reaches_every_weight_that_works(one):
    task, backbone, images, targets = one
    loss = task.loss(backbone(images), targets)
    assert loss.shape == ()
    loss.backward()
    assert backbone.head.weight.grad.abs().sum() > 0
    assert backbone.patch_embed.proj.weight.grad.abs().sum() > 0


def test_nothing_is_learned_from_oneself_and_the_teacher_learns_nothing(one):
    task, backbone, images, _ = one
    output = backbone(images)
    assert task.distillation(output, output.detach()).item() == pytest.approx(0, abs=1e-6)
    teacher = (output.detach() + torch.randn_like(output)).requires_grad_()
    loss = task.distillation(output, teacher)
    loss.backward()
    assert loss.item() > 0
    assert teacher.grad is None


def test_metrics_are_reduced_from_statistics_of_each_image(one):
    task, backbone, images, targets = one

    def measured(*sizes):
        parts = zip(images.split(sizes), targets.split(sizes), strict=True)
        held_out = HeldOut(parts, task, torch.device("cpu"))
        held_out.set_reference(backbone)
        for each in held_out.statistics(backbone).values():
            assert len(each) == len(images)
        return held_out.measure(backbone)

    whole = measured(24)
    assert list(whole) == [metric.name for metric in task.metrics if metric.name in whole]
    assert task.metrics[0].name in whole
    for sizes in ((8, 8, 8), (1, 23), (20, 4)):
        assert measured(*sizes) == pytest.approx(whole, rel=1e-5, abs=1e-7)


def test_batches_are_mixed_without_changing_what_was_given(one):
    task, _, images, targets = one
    before = images.clone(), targets.clone()
    mixed, labels = task.mix(images, targets)
    assert len(mixed) == len(labels) == len(images)
    assert torch.equal(images, before[0])
    assert torch.equal(targets, before[1])


def test_every_image_has_a_stratum(one):
    task, _, _, targets = one
    strata = task.strata(targets.numpy())
    assert strata.shape == (len(targets),)
    assert strata.dtype == np.int64


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
