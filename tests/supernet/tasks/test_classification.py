import json

import pytest
import torch
from torch.nn import functional as F
from training_toys import CLASSES, toy_backbone, toy_task

from space import InputError
from supernet.evaluation import HeldOut
from supernet.tasks.classification import Classification


def tensors(n=12, classes=10):
    rng = torch.Generator().manual_seed(1)
    logits = torch.randn(n, classes, generator=rng, dtype=torch.float64)
    return logits, torch.randint(classes, (n,), generator=rng)


def test_metrics_are_those_of_torch():
    logits, targets = tensors()
    other, _ = tensors(classes=10)
    found = {k: v.mean() for k, v in toy_task().statistics(logits, targets, other * 0.5).items()}
    assert found["top1"] == (logits.argmax(1) == targets).double().mean()
    five = (logits.topk(5).indices == targets[:, None]).any(1).double().mean()
    assert found["top5"] == five
    torch.testing.assert_close(found["cross_entropy"], F.cross_entropy(logits, targets))
    kl = F.kl_div(logits.log_softmax(1), (other * 0.5).softmax(1), reduction="batchmean")
    torch.testing.assert_close(found["kl"], kl)


def test_of_equal_logits_the_lower_label_comes_first():
    targets = torch.tensor([0, 4, 5, 9])
    found = toy_task().statistics(torch.zeros(4, 10), targets)
    assert found["top1"].tolist() == [1, 0, 0, 0]
    assert found["top5"].tolist() == [1, 1, 0, 0]
    rng = torch.Generator().manual_seed(0)
    logits = torch.randint(3, (200, 10), generator=rng).float()
    targets = torch.randint(10, (200,), generator=rng)
    top1 = toy_task().statistics(logits, targets)["top1"]
    assert torch.equal(top1, (logits.argmax(1) == targets).float())


def test_an_image_whose_logits_are_nan_has_no_accuracy():
    logits, targets = tensors(3)
    logits[1, 7] = torch.nan
    for name in ("top1", "top5"):
        found = toy_task().statistics(logits, targets)[name]
        assert found.isnan().tolist() == [False, True, False]


def test_losses_smooth_labels_but_not_mixed_ones():
    logits, targets = tensors()
    task = toy_task(smoothing=0.2)
    wanted = F.cross_entropy(logits, targets, label_smoothing=0.2)
    torch.testing.assert_close(task.loss(logits, targets), wanted)
    mixed = F.one_hot(targets, 10).double() * 0.7 + 0.03
    torch.testing.assert_close(task.loss(logits, mixed), F.cross_entropy(logits, mixed))


def test_distillation_leaves_the_teacher_alone():
    logits, _ = tensors()
    student, teacher = logits.clone().requires_grad_(), (2 * logits).requires_grad_()
    toy_task().distillation(student, teacher).backward()
    assert teacher.grad is None
    assert student.grad.abs().sum() > 0


def test_mixing_needs_an_even_batch_and_gives_soft_labels():
    task = toy_task(mixup=0.8)
    _, targets = task.mix(torch.rand(4, 3, 8, 8), torch.tensor([0, 1, 2, 3]))
    assert targets.shape == (4, 10)
    torch.testing.assert_close(targets.sum(1), torch.ones(4))
    with pytest.raises(InputError, match="even batch, got 5"):
        task.check_batch(5)
    toy_task().check_batch(5)


def test_a_reset_head_is_the_same_each_time():
    task = Classification(("a", "b"))
    heads = []
    for _ in range(2):
        backbone = toy_backbone()
        assert not task.fits(backbone)
        task.reset_head(backbone, seed=4)
        assert task.fits(backbone)
        heads.append(backbone.head.weight.clone())
    assert torch.equal(*heads)


def test_held_out_means_do_not_depend_on_the_batches():
    task, model = toy_task(), toy_backbone().double().eval()
    rng = torch.Generator().manual_seed(2)
    images = torch.randn(10, 3, 16, 16, generator=rng, dtype=torch.float64)
    targets = torch.randint(len(CLASSES), (10,), generator=rng)
    whole = HeldOut([(images, targets)], task, torch.device("cpu"))
    parts = HeldOut(
        [(images[:3], targets[:3]), (images[3:], targets[3:])], task, torch.device("cpu")
    )
    for held in (whole, parts):
        held.set_reference(toy_backbone().double().eval())
    assert len(whole) == len(parts) == 10
    assert {logits.dtype for _, logits in whole.outputs(model)} == {torch.float64}
    assert whole.measure(model) == pytest.approx(parts.measure(model), rel=1e-12)
    assert whole.measure(model)["kl"] == pytest.approx(0, abs=1e-12)


def test_trainings_that_earlier_versions_began_are_of_the_same_task():
    stored = (
        '{"classes": ["a", "b"], "smoothing": 0.1, "mixup": 0.2, "cutmix": 0.0, "mix_prob": 1.0, '
        '"switch_prob": 0.5, "directions": {"top1": "max", "top5": "max", "cross_entropy": "min", '
        '"kl": "min"}}'
    )
    assert json.dumps(Classification(["a", "b"], mixup=0.2).identity()) == stored
