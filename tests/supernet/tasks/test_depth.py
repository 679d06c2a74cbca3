"""Depth: its loss and its metrics, judged by torchmetrics and by plain loops over the pixels."""

import math

import numpy as np
import pytest
import torch
from dense_toys import dense_task, depth_maps
from torch.nn import functional as F
from torchmetrics import MeanAbsolutePercentageError, MeanSquaredError

from space import InputError
from supernet.evaluation import HeldOut
from supernet.tasks.depth import BINS, BinDepth, LogDepth

COUNT = 5


def task(**values):
    return dense_task({"name": "depth", **values})


def predicted(size=(16, 24), count=COUNT, seed=3):
    """Depth as a network gives it, (B, 1, h, w)."""
    rng = torch.Generator().manual_seed(seed)
    return 0.5 + 9 * torch.rand(count, 1, *size, generator=rng, dtype=torch.float64)


def targets(size=(32, 48), count=COUNT):
    return depth_maps(count, size).double()


def resized(output, size):
    return F.interpolate(output, size, mode="bilinear", align_corners=False)[:, 0]


def pairs(output, truth):
    """Prediction and truth of the measured pixels of each image, as plain arrays."""
    larger = resized(output, truth.shape[1:]).numpy()
    return [(p[t > 0], t[t > 0]) for p, t in zip(larger, truth.numpy(), strict=True)]


def test_metrics_are_those_of_torchmetrics_image_by_image():
    output, truth = predicted(), targets()
    found = task().statistics(output, truth)
    for i, pair in enumerate(pairs(output, truth)):
        p, t = map(torch.from_numpy, pair)
        rmse, relative = MeanSquaredError(squared=False), MeanAbsolutePercentageError()
        assert found["rmse"][i].item() == pytest.approx(float(rmse(p, t)), rel=1e-6)
        assert found["abs_rel"][i].item() == pytest.approx(float(relative(p, t)), rel=1e-6)


def test_metrics_are_those_of_the_literature():
    output, truth = predicted(), targets()
    statistics = task().statistics(output, truth)
    means = task().reduce({name: each.numpy() for name, each in statistics.items()})
    expected = {"rmse": [], "abs_rel": [], "delta1": [], "silog": []}
    for p, t in pairs(output, truth):
        logs = [math.log(a) - math.log(b) for a, b in zip(p, t, strict=True)]
        expected["rmse"].append(np.mean([(a - b) ** 2 for a, b in zip(p, t, strict=True)]) ** 0.5)
        expected["abs_rel"].append(np.mean([abs(a - b) / b for a, b in zip(p, t, strict=True)]))
        close = [max(a / b, b / a) < 1.25 for a, b in zip(p, t, strict=True)]
        expected["delta1"].append(np.mean(close))
        expected["silog"].append(100 * np.sqrt(np.mean(np.square(logs)) - np.mean(logs) ** 2))
    for name, values in expected.items():
        np.testing.assert_allclose(statistics[name], values, rtol=1e-9)
        # Of a split: the mean over its images.
        assert means[name] == pytest.approx(np.mean(values), rel=1e-9)
    assert statistics["pixels"].tolist() == [len(t) for _, t in pairs(output, truth)]


def loss_by_loops(output, truth):
    """The loss of one image as its formula says, pixel by pixel."""
    valid, g = truth > 0, np.zeros_like(truth)
    g[valid] = np.log(output[valid]) - np.log(truth[valid])
    own = g[valid]
    total = math.sqrt(own.var() + 0.15 * own.mean() ** 2)
    for step in (1, 2, 4, 8):
        d, mask, steps = g[::step, ::step], valid[::step, ::step], 0.0
        height, width = d.shape
        for row in range(height):
            for column in range(width):
                for down, right in ((2, 0), (0, 2)):
                    y, x = row + down, column + right
                    if y < height and x < width and mask[row, column] and mask[y, x]:
                        steps += abs(d[row, column] - d[y, x])
        total += 0.5 * steps / max(1, mask.sum())
    return total


@pytest.mark.parametrize("size", [(32, 48), (9, 40), (3, 3), (1, 1)])
def test_the_loss_is_its_formula(size):
    output, truth = predicted(), targets(size)
    truth[0, 0, 0] = truth[1, 0, 0] = truth[2, 0, 0] = truth[3, 0, 0] = truth[4, 0, 0] = 3
    larger = resized(output, size).numpy()
    expected = [loss_by_loops(p, t) for p, t in zip(larger, truth.numpy(), strict=True)]
    assert task().loss(output, truth).item() == pytest.approx(np.mean(expected), rel=1e-9)


def test_a_wrong_scale_costs_little_and_a_wrong_shape_more():
    truth = targets()
    truth[truth == 0] = 3
    scaled = 1.1 * truth[:, None]
    expected = math.sqrt(0.15) * math.log(1.1)
    assert task().loss(scaled, truth).item() == pytest.approx(expected, rel=1e-9)
    assert task().statistics(scaled.clamp(max=10), truth)["delta1"].tolist() == [1] * COUNT
    assert task().loss(truth.flip(2)[:, None], truth) > 3 * expected
    # At the truth itself there is nothing to learn, and no gradient that is not finite.
    exact = truth[:, None].clone().requires_grad_()
    loss = task().loss(exact, truth)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-3)
    assert not exact.grad.any()


@pytest.mark.parametrize("value", [0.0, -1.0, torch.nan, torch.inf, 10.5, 1e-4])
def test_pixels_without_a_valid_depth_do_not_count(value):
    output, truth = predicted(), targets()
    marked, hidden = truth.clone(), truth.clone()
    marked[:, 4:9, 7:30], hidden[:, 4:9, 7:30] = value, 0
    assert task().loss(output, marked) == task().loss(output, hidden)
    found, expected = (task().statistics(output, each) for each in (marked, hidden))
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_images_without_a_measurement_neither_count_nor_teach():
    output, truth = predicted().requires_grad_(), targets()
    truth[1] = 0
    task().loss(output, truth).backward()
    assert output.grad.isfinite().all()
    assert not output.grad[1].any()
    assert output.grad[0].any()
    others = [0, 2, 3, 4]
    statistics = {k: v.detach().numpy() for k, v in task().statistics(output, truth).items()}
    assert statistics["pixels"][1] == 0
    assert np.isnan(statistics["rmse"][1])
    rest = {name: each[others] for name, each in statistics.items()}
    assert task().reduce(statistics) == task().reduce(rest)
    assert all(map(math.isfinite, task().reduce(statistics).values()))
    nothing = {name: each[[1]] for name, each in statistics.items()}
    with pytest.raises(InputError, match=r"^depth: no pixel of the 1 images has a target$"):
        task().reduce(nothing)


def test_a_network_that_says_nan_has_no_metrics():
    output, truth = predicted(), targets()
    output[2, 0, 5, 5] = torch.nan
    statistics = {k: v.numpy() for k, v in task().statistics(output, truth).items()}
    assert np.isnan(statistics["delta1"]).tolist() == [i == 2 for i in range(COUNT)]
    assert all(map(math.isnan, task().reduce(statistics).values()))


def test_maps_without_depth_in_the_crop_are_refused():
    measured = np.zeros((48, 64), np.float32)
    measured[:4] = 2.0
    task(crop=[0, 30, 5, 41]).decode(measured)
    with pytest.raises(ValueError, match=r"^has no depth inside task.crop, \[4, 30, 5, 41\]$"):
        task(crop=[4, 30, 5, 41]).decode(measured)


def test_only_the_crop_is_evaluated():
    crop = [4, 30, 5, 41]
    output, truth = predicted((32, 48)), targets()
    found = task(crop=crop).statistics(output, truth)
    expected = task().statistics(output[:, :, 4:30, 5:41], truth[:, 4:30, 5:41])
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    # The loss is of all of it.
    assert task(crop=crop).loss(output, truth) == task().loss(output, truth)
    with pytest.raises(InputError, match=r"^task.crop: reaches to row 471 and column 601, the map"):
        task(crop=[45, 471, 41, 601]).statistics(output, truth)


def test_predictions_are_resized_to_the_targets_and_kept_within_the_limits():
    output, truth = predicted(), targets()
    torch.testing.assert_close(task().predict(output, (32, 48)), resized(output, (32, 48)))
    assert task().predict(output.half(), (16, 24)).dtype == torch.float32
    narrow = task(max_depth=5.0, min_depth=2.0)
    found = narrow.statistics(output, truth.clamp(2, 5))
    limited = resized(output, truth.shape[1:]).clamp(2, 5)[:, None]
    assert torch.equal(found["rmse"], narrow.statistics(limited, truth.clamp(2, 5))["rmse"])


@pytest.mark.parametrize("shape", [(COUNT, 1, 32, 48), (32, 48)])
def test_targets_that_are_not_one_map_for_an_image_are_refused(shape):
    for call in (task().loss, task().statistics):
        with pytest.raises(InputError, match=rf"maps \(B, H, W\), got the shape \[{shape[0]}, "):
            call(predicted(), torch.ones(shape))


def test_distillation_compares_logarithms():
    output, teacher = predicted(), predicted(seed=4)
    expected = 2 * np.square(np.log(output.numpy()) - np.log(teacher.numpy())).mean()
    assert task().distillation(output, teacher).item() == pytest.approx(expected, rel=1e-12)
    # A teacher with another patch has a map of another size.
    larger = resized(teacher, [2 * side for side in teacher.shape[2:]])[:, None]
    same = resized(larger, teacher.shape[2:])[:, None]
    expected = task().distillation(output, same)
    torch.testing.assert_close(task().distillation(output, larger), expected)
    assert task().distillation(output.half(), teacher.half()).dtype == torch.float32


@pytest.mark.parametrize(("most", "scale"), [(0.5, 1e-3), (10, 1e-3), (80, 1e-2), (700, 0.1)])
def test_saved_depth_is_read_as_what_was_predicted(most, scale):
    chosen = dense_task({"name": "depth", "max_depth": most}, scale=scale)
    prediction = np.random.default_rng(0).uniform(most / 10, most, (8, 9)).astype(np.float32)
    prediction[0, 0] = most
    stored = np.asarray(chosen.to_image(prediction))
    assert stored.dtype == np.uint16
    metres = stored.astype(np.float64) * scale
    np.testing.assert_allclose(metres, prediction, atol=0.51 * scale)


@pytest.mark.parametrize("most", [1, 3, 7, 10, 13, 63])
def test_pixels_at_the_limits_have_a_target(most):
    files = np.array([[1, 1000 * most, 1000 * most + 1, 0]], np.uint16)
    found = dense_task({"name": "depth", "max_depth": most}, scale=0.001).decode(files)
    assert found.dtype == np.float32
    assert found.tolist() == [[np.float32(0.001), most, 0, 0]]


def test_bins_are_averaged_by_their_weights():
    form = BinDepth(0.001, 10.0)
    assert form(torch.zeros(1, BINS, 2, 3)).flatten().tolist() == pytest.approx([5.0005] * 6)
    # Negative weights are as 0, and each is 0.1 larger, as DINOv2's.
    assert form(-torch.rand(1, BINS, 1, 1)).item() == pytest.approx(5.0005)
    one = torch.zeros(1, BINS, 1, 1)
    one[0, 200] = 50
    bins = np.linspace(0.001, 10, BINS)
    expected = (0.1 * bins.sum() + 50 * bins[200]) / (0.1 * BINS + 50)
    assert form(one).item() == pytest.approx(expected, rel=1e-5)
    assert form(torch.full((1, BINS, 1, 1), -9.0).bfloat16()).dtype == torch.float32


@pytest.mark.parametrize(
    ("low", "high", "first"), [(0.001, 10, 2.5), (0.1, 80, 20), (3, 10, 30**0.5)]
)
def test_logarithms_begin_inside_the_limits_and_are_bound_in_evaluation_alone(low, high, first):
    form, x = LogDepth(low, high), torch.zeros(1, 1, 1, 3)
    assert form(x).flatten().tolist() == pytest.approx([first] * 3)
    far = torch.tensor([-20.0, 0.1, 20.0]).reshape(1, 1, 1, 3).requires_grad_()
    assert form.eval()(far).flatten().tolist() == pytest.approx([low, first * math.e**0.1, high])
    form.train()(far).log().sum().backward()
    assert far.grad.flatten().tolist() == pytest.approx([1, 1, 1])


def test_files_are_read_as_metres():
    read = task().decode
    metres = np.array([[0.5, 0, 12], [np.nan, -1, np.inf]])
    assert read(metres).tolist() == [[0.5, 0, 0], [0, 0, 0]]
    assert read(metres).dtype == np.float32
    millimetres = np.array([[500, 0, 65535]], dtype=np.uint16)
    scaled = dense_task("depth", scale=0.001, invalid=500)
    assert dense_task("depth", scale=0.001).decode(millimetres).tolist() == [[0.5, 0, 0]]
    for values, decode, reason in (
        (millimetres, read, "holds integers: data.dataset.scale must say how many metres one is"),
        (
            millimetres,
            scaled.decode,
            r"has no depth in 0.001 to 10 m \(it holds 65.535 to 65.535 m\)",
        ),
        (np.full((2, 2), np.nan), read, r"it holds no measurement\); see data.dataset.scale"),
    ):
        with pytest.raises(ValueError, match=reason):
            decode(values)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"max_depth": 0}, "^task.max_depth: must be over 0$"),
        ({"min_depth": 20}, "^task.min_depth: must be below max_depth, 10, got 20$"),
        ({"output": "inverse"}, "^task.output: value must be one of bins, log, got 'inverse'"),
        ({"crop": [1, 2, 3]}, r"^task.crop: must be rows from, to, columns from, to, got \[1, 2"),
        ({"crop": [5, 5, 1, 9]}, "^task.crop: must be rows from, to, columns from, to"),
        ({"crop": [1.5, 5, 1, 9]}, r"^task.crop\[0\]: must be an integer of at least 0, got 1.5"),
        ({"max_dept": 5}, "^task.max_dept: unknown key; did you mean 'max_depth'"),
    ],
    ids=str,
)
def test_options_that_are_refused(values, reason):
    with pytest.raises(InputError, match=reason) as error:
        task(**values)
    assert "\n" not in str(error.value)


def test_maps_of_several_sizes_make_one_split():
    """As files are evaluated at their own size."""
    outputs = [predicted(count=2, seed=k) for k in range(3)]
    maps = [targets(size, 2) for size in ((32, 48), (40, 30), (8, 9))]
    held_out = HeldOut(zip(outputs, maps, strict=True), task(), torch.device("cpu"))
    found = held_out.measure(lambda images: images)
    each = [task().statistics(*pair)["rmse"] for pair in zip(outputs, maps, strict=True)]
    assert found["rmse"] == pytest.approx(torch.cat(each).mean().item(), rel=1e-12)
