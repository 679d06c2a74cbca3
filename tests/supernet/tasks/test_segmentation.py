"""Segmentation: its loss and its metrics, judged by torch and by torchmetrics."""

import math

import numpy as np
import pytest
import torch
from dense_toys import CLASSES, dense_task, label_maps
from torch.nn import functional as F
from torchmetrics.classification import MulticlassAccuracy, MulticlassJaccardIndex

from space import InputError
from supernet.evaluation import HeldOut
from supernet.tasks.drawing import palette
from supernet.tasks.segmentation import VOID

COUNT = 6


def task(classes=CLASSES, head=(), ignore=VOID, **dataset):
    section = {"name": "segmentation", "classes": classes, "head": dict(head), "ignore": ignore}
    return dense_task(section, **dataset)


def logits(size=(16, 24), count=COUNT, seed=3, classes=CLASSES):
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(count, classes, *size, generator=rng, dtype=torch.float64)


def resized(output, size):
    return F.interpolate(output, size, mode="bilinear", align_corners=False)


def measured(chosen, output, targets, reference=None):
    statistics = chosen.statistics(output, targets, reference)
    return statistics, chosen.reduce({name: each.numpy() for name, each in statistics.items()})


@pytest.mark.parametrize("size", [(16, 24), (32, 48), (9, 7)])
def test_metrics_are_those_of_torchmetrics(size):
    output, targets = logits(), label_maps(COUNT, size)
    _, found = measured(task(), output, targets)
    predicted = resized(output, size).argmax(1)
    jaccard = MulticlassJaccardIndex(CLASSES, ignore_index=VOID, validate_args=False)
    assert found["miou"] == pytest.approx(float(jaccard(predicted, targets.long())), rel=1e-6)
    entropies = []
    accuracy = MulticlassAccuracy(CLASSES, average="micro", ignore_index=VOID)
    for i in range(COUNT):
        accuracy.update(predicted[i], targets[i].long())
        larger = resized(output[i : i + 1], size)
        truth = targets[i : i + 1].long()
        entropies.append(F.cross_entropy(larger, truth, ignore_index=VOID).item())
    assert found["pixel_accuracy"] == pytest.approx(float(accuracy.compute()), rel=1e-6)
    assert found["cross_entropy"] == pytest.approx(np.mean(entropies), rel=1e-9)


def test_classes_that_never_occur_do_not_count():
    output, targets = logits(classes=8), label_maps(COUNT)
    output[:, 6:] = -50
    statistics, found = measured(task(8), output, targets)
    assert (statistics["union"].sum(dim=0) > 0).tolist() == [True] * 6 + [False] * 2
    jaccard = MulticlassJaccardIndex(8, ignore_index=VOID, validate_args=False)
    predicted = resized(output, targets.shape[1:]).argmax(1)
    assert found["miou"] == pytest.approx(float(jaccard(predicted, targets.long())), rel=1e-6)
    # Class 5 is predicted and never there: its IoU of 0 counts.
    assert statistics["intersection"].sum(dim=0)[5] == 0


def test_a_perfect_network():
    targets = label_maps(COUNT)
    exact = 9 * F.one_hot(targets.long().clamp(max=CLASSES - 1), CLASSES).movedim(-1, 1).double()
    statistics, found = measured(task(), exact, targets)
    assert (found["miou"], found["pixel_accuracy"]) == (1, 1)
    assert found["cross_entropy"] == pytest.approx(math.log(1 + 4 * math.exp(-9)))
    assert statistics["pixels"].tolist() == (targets != VOID).sum(dim=(1, 2)).tolist()


def test_the_loss_is_cross_entropy_over_the_pixels_of_each_image():
    output, targets = logits(), label_maps(COUNT)
    expected = [
        F.cross_entropy(resized(o[None], targets.shape[1:]), t[None].long(), ignore_index=VOID)
        for o, t in zip(output, targets, strict=True)
    ]
    torch.testing.assert_close(task().loss(output, targets), torch.stack(expected).mean())
    assert task().loss(output.half(), targets).dtype == torch.float32


def test_distillation_is_the_divergence_of_each_pixel():
    output, teacher = logits(), logits(seed=4)
    p, q = (each.movedim(1, -1).flatten(0, -2) for each in (teacher, output))
    expected = F.kl_div(q.log_softmax(1), p.softmax(1), reduction="batchmean")
    torch.testing.assert_close(task().distillation(output, teacher), expected)
    # A teacher with another patch has a map of another size.
    larger = resized(teacher, [2 * side for side in teacher.shape[2:]])
    same = resized(larger, teacher.shape[2:])
    expected = task().distillation(output, same)
    torch.testing.assert_close(task().distillation(output, larger), expected)


def test_images_without_a_class_neither_count_nor_teach():
    output, targets = logits().requires_grad_(), label_maps(COUNT)
    targets[1] = VOID
    task().loss(output, targets).backward()
    assert output.grad.isfinite().all()
    assert not output.grad[1].any()
    assert output.grad[0].any()
    others = [0, 2, 3, 4, 5]
    with torch.no_grad():
        statistics, found = measured(task(), output, targets)
        _, rest = measured(task(), output[others], targets[others])
    assert statistics["pixels"][1] == 0
    assert found == pytest.approx(rest, rel=1e-12)
    nothing = {name: each[[1]].numpy() for name, each in statistics.items()}
    with pytest.raises(InputError, match=r"^segmentation: no pixel of the 1 images has a target"):
        task().reduce(nothing)


def test_a_network_that_says_nan_has_no_metrics():
    output, targets = logits(), label_maps(COUNT)
    output[2] = torch.nan
    statistics, found = measured(task(), output, targets)
    assert statistics["pixel_accuracy"].isnan().tolist() == [i == 2 for i in range(COUNT)]
    assert all(map(math.isnan, found.values()))


def test_metrics_do_not_depend_on_the_batches_or_sizes_of_maps():
    outputs = [logits(count=2, seed=k) for k in range(3)]
    maps = [label_maps(2, size, k) for k, size in enumerate([(32, 48), (40, 30), (8, 9)])]
    held_out = HeldOut(zip(outputs, maps, strict=True), task(), torch.device("cpu"))
    found = held_out.measure(lambda images: images)
    parts = [task().statistics(*pair) for pair in zip(outputs, maps, strict=True)]
    intersection, union = (
        torch.cat([part[key] for part in parts]).sum(dim=0) for key in ("intersection", "union")
    )
    assert found["miou"] == pytest.approx((intersection / union).mean().item(), rel=1e-6)


def test_targets_that_are_not_one_map_for_an_image_are_refused():
    for call in (task().loss, task().statistics):
        with pytest.raises(InputError, match=r"targets must be maps \(B, H, W\), got the shape"):
            call(logits(), torch.zeros(COUNT, 1, 16, 24, dtype=torch.uint8))


def test_files_are_read_as_classes():
    labels = np.array([[0, 1, 4], [5, 9, 255]], dtype=np.int32)
    assert task(10).decode(labels).tolist() == [[0, 1, 4], [5, 9, VOID]]
    assert task(10).decode(labels).dtype == np.uint8
    assert task(10, ignore=9).decode(labels[:, :2]).tolist() == [[0, 1], [5, VOID]]
    assert task(5, remap={5: 0, 9: 255}).decode(labels).tolist() == [[0, 1, 4], [0, VOID, VOID]]
    # As in ADE20K: 0 is no class, and what is ignored stays so.
    shifted = task(9, reduce_zero_label=True).decode(labels)
    assert shifted.tolist() == [[VOID, 0, 3], [4, 8, VOID]]
    # Labels are swapped at once, not one after the other.
    swapped = task(2, remap={0: 1, 1: 0}).decode(labels[:1, :2])
    assert swapped.tolist() == [[1, 0]]
    for values, classes, reason in (
        (labels, 9, r"has the label 9, beyond the 9 classes \(0 to 8\); see task.classes"),
        (labels.astype(float), 10, "holds float64, not integers"),
        (np.full((2, 2), 255), 10, "has no pixel of a class: all are ignored; see task.ignore"),
        (np.array([[-1, 2]]), 10, "has the label -1, beyond the 10 classes"),
    ):
        with pytest.raises(ValueError, match=reason):
            task(classes).decode(values)


@pytest.mark.parametrize(
    ("values", "labels", "reason"),
    [
        ({}, [0], "have pixels of class 0 alone$"),
        ({}, [0, 255], r"class 0 alone, and .* label 255; .* set data.dataset.remap: \{255: 1\}$"),
        ({}, [1, 255], r"class 1 alone, and .* label 255; .* set data.dataset.remap: \{255: 0\}$"),
        ({"ignore": 9}, [0, 9], r" label 9; .* set data.dataset.remap: \{9: 1\}$"),
        ({"ignore": 0}, [0, 1], "class 1 alone; see task.ignore, data.dataset.remap and"),
        ({"remap": {1: 255}}, [0, 1], "class 0 alone; see task.ignore, data.dataset.remap and"),
        ({"reduce_zero_label": True}, [0, 1], "class 0 alone; see task.ignore, data.dataset.remap"),
    ],
    ids=str,
)
def test_maps_of_one_class_alone_teach_nothing(values, labels, reason):
    chosen = task(2, **values)
    maps = [chosen.decode(np.array([labels])) for _ in range(3)]
    with pytest.raises(ValueError, match=reason):
        chosen.check_maps(maps)
    # The rest is not read.
    two = iter([*maps, np.array([[1 - maps[0].min()]]), None])
    chosen.check_maps(two)
    assert next(two) is None


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"classes": 1}, "^task.classes: must be an integer of 2 to 255, got 1$"),
        ({"classes": 256}, "^task.classes: must be an integer of 2 to 255, got 256$"),
        ({"classes": ["wall", 3]}, r"^task.classes\[1\]: must be text, got 3$"),
        ({"classes": ["wall"]}, "^task.classes: must be 2 to 255 names, got 1$"),
        ({"classes": ["x"] * 256}, "^task.classes: must be 2 to 255 names, got 256$"),
        ({"ignore": -1}, "^task.ignore: must be an integer of at least 0, got -1$"),
    ],
    ids=str,
)
def test_options_that_are_refused(values, reason):
    with pytest.raises(InputError, match=reason):
        task(**values)


def test_classes_are_named_or_numbered():
    assert task(3).classes == ("0", "1", "2")
    assert task(["wall", "door"]).classes == ("wall", "door")
    assert task(["wall", "door"]).contents == "2 classes"
    with pytest.raises(InputError, match=r"^task: missing 'classes', .* such as classes: 40 or cl"):
        dense_task({"name": "segmentation"})


def test_a_zero_label_and_an_ignored_class_are_void_and_no_other():
    chosen = dense_task(
        {"name": "segmentation", "classes": 40, "ignore": 39}, reduce_zero_label=True
    )
    found = chosen.decode(np.array([[0, 1, 38, 39, 40]], dtype=np.uint8))
    assert found.tolist() == [[VOID, 0, 37, VOID, 39]]
    with pytest.raises(ValueError, match=r"label 255, beyond the 40 classes \(1 to 40\)"):
        chosen.decode(np.array([[255, 1]], dtype=np.uint8))


def test_an_ignored_class_that_is_predicted_is_none_of_the_mean():
    chosen = dense_task({"name": "segmentation", "classes": 3, "ignore": 2})
    targets = torch.tensor([[[0, 0, 0, 1, 1, VOID]]], dtype=torch.uint8)
    output = 9.0 * F.one_hot(torch.tensor([[[0, 0, 2, 1, 1, 2]]]), 3).movedim(-1, 1)
    _, found = measured(chosen, output, targets)
    assert found["miou"] == pytest.approx((2 / 3 + 1) / 2)
    # The last pixel of class 2 is no pixel of a class.
    assert found["pixel_accuracy"] == pytest.approx(4 / 5)


@pytest.mark.parametrize("reduce_zero_label", [False, True])
def test_an_ignored_label_is_neither_learned_nor_counted_also_by_its_class(reduce_zero_label):
    section = {"name": "segmentation", "classes": 4, "ignore": 2}
    chosen = dense_task(section, reduce_zero_label=reduce_zero_label)
    left = 2 - reduce_zero_label
    classes = torch.tensor([[[0, 0, left, 3, 3, 3]]], dtype=torch.uint8)
    void = classes.masked_fill(classes == left, VOID)
    output = 9.0 * F.one_hot(torch.tensor([[[0, left, left, 3, left, 3]]]), 4).movedim(-1, 1)
    file = classes[0].numpy() + int(reduce_zero_label)
    assert chosen.decode(file).tolist() == void[0].tolist()
    # A loader of one's own may leave the label in place.
    for targets in (classes, void):
        _, found = measured(chosen, output, targets)
        assert found["miou"] == pytest.approx((1 / 2 + 2 / 3) / 2)
        assert found["pixel_accuracy"] == pytest.approx(3 / 5)
        assert chosen.loss(output, targets) == chosen.loss(output, void)


@pytest.mark.parametrize("reduce_zero_label", [False, True])
def test_saved_labels_are_read_as_the_classes_that_were_predicted(reduce_zero_label):
    section = {"name": "segmentation", "classes": 4}
    chosen = dense_task(section, reduce_zero_label=reduce_zero_label)
    prediction = np.array([[0, 1], [2, 3]])
    image = chosen.to_image(prediction)
    assert chosen.decode(np.asarray(image)).tolist() == prediction.tolist()
    assert np.array_equal(np.asarray(image.convert("RGB")), palette()[prediction])
