"""Image and map are transformed together: each pixel is told where it comes from, in both."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from dense_toys import dense_task
from PIL import Image
from torch.nn import functional as F

from space import InputError
from supernet.config import AugmentConfig
from supernet.data.loaders import seed_all
from supernet.tasks.transforms import ImageTransform, MapTransform

WIDTH, HEIGHT = 80, 60
VOID = -1.0
STEP = 3.0  # of a colour, from pixel to pixel
INPUT = {
    "input_size": (3, HEIGHT, WIDTH),
    "mean": (0.0, 0.0, 0.0),
    "std": (1.0, 1.0, 1.0),
    "interpolation": "bilinear",
}
STILL = AugmentConfig(crop_scale=(1.0, 1.0), hflip=0.0)


def coordinates():
    """An image whose red and green are its x and y, and a map that numbers the pixels."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    image = np.stack([STEP * x, STEP * y, 0 * x], axis=2).astype(np.uint8)
    return Image.fromarray(image), (y * WIDTH + x).astype(np.float32)


def transformed(augment=STILL, size=(HEIGHT, WIDTH), seed=0, sample=None, channels=3, **options):
    seed_all(seed)
    colours = {"mean": INPUT["mean"][:channels], "std": INPUT["std"][:channels]}
    input = {**INPUT, **colours, "input_size": (channels, *size)}
    transform = MapTransform(input, augment, VOID, **options)
    return transform(*(sample or coordinates()))


def places(image, target):
    """Where each pixel comes from, (x, y): by the image, by the map, and where both are whole."""
    by_image = 255 / STEP * image[:2]
    by_map = torch.stack([target % WIDTH, target.div(WIDTH, rounding_mode="floor")])
    # Colours of void are mixed into those beside it; it may end between two pixels of the map.
    void = F.pad((target == VOID).float()[None], (2, 2, 2, 2), value=1)
    near = F.max_pool2d(void, 5, 1)[0] > 0
    return by_image, by_map, ~near


def check_aligned(image, target):
    """Check that a pixel of the map comes from the same place as that of the image."""
    by_image, by_map, whole = places(image, target)
    assert whole.float().mean() > 0.3
    away = (by_image - by_map)[:, whole]
    # The nearest pixel is up to half a pixel away, always where sides are halved. Colours are
    # rounded, and those of a rotation cut off.
    assert away.abs().max() < 1.3
    assert away.mean(dim=1).abs().max() < 0.7


@pytest.mark.parametrize("size", [(60, 80), (20, 16), (45, 50), (90, 160)])
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "augment",
    [
        {},
        {"hflip": 1.0},
        {"crop_scale": (0.3, 0.6)},
        {"rotation": 20.0},
        {"crop_scale": (0.3, 1.0), "hflip": 0.5, "rotation": 10.0},
    ],
)
def test_image_and_map_stay_aligned(augment, size, seed):
    image, target = transformed(replace(STILL, **augment), size, seed, stretch=4 / 3)
    assert image.shape == (3, *size)
    assert target.shape == size
    check_aligned(image, target)


def test_each_change_is_the_one_that_is_asked_for():
    _, still = transformed()
    assert torch.equal(still, torch.from_numpy(coordinates()[1]))
    _, flipped = transformed(replace(STILL, hflip=1.0))
    assert torch.equal(flipped, still.flip(1))
    _, cropped = transformed(replace(STILL, crop_scale=(0.25, 0.25)))
    x, y = cropped % WIDTH, cropped // WIDTH
    assert (x.max() - x.min(), y.max() - y.min()) == (WIDTH / 2 - 1, HEIGHT / 2 - 1)
    flips = [transformed(replace(STILL, hflip=0.3), seed=seed)[1][0, 0] > 0 for seed in range(200)]
    assert 0.2 < np.mean(flips) < 0.4


def test_crops_have_the_shape_of_the_image_up_to_the_stretch():
    def shapes(stretch):
        for seed in range(40):
            augment = replace(STILL, crop_scale=(0.2, 1.0))
            _, target = transformed(augment, (90, 90), seed, stretch=stretch)
            x, y = target % WIDTH, target // WIDTH
            yield float((x.max() - x.min() + 1) / (y.max() - y.min() + 1))

    assert [*shapes(1.0)] == pytest.approx([4 / 3] * 40, rel=0.03)
    stretched = [*shapes(1.5)]
    assert 4 / 3 / 1.55 < min(stretched) < 1.1
    assert 1.65 < max(stretched) < 4 / 3 * 1.55


def test_rotation_turns_by_up_to_its_angle_and_leaves_void():
    angles = []
    for seed in range(60):
        _, target = transformed(replace(STILL, rotation=12.0), seed=seed)
        row = target[HEIGHT // 2, WIDTH // 2 - 20 : WIDTH // 2 + 21]
        x, y = row % WIDTH, row // WIDTH
        angles.append(float(torch.atan2(y[-1] - y[0], x[-1] - x[0]).rad2deg()))
        if abs(angles[-1]) > 4:
            assert (target[[0, 0, -1, -1], [0, -1, 0, -1]] == VOID).any()
    assert 9 < max(angles) < 14
    assert -14 < min(angles) < -9


def test_the_corners_have_the_mean_colour_and_no_target():
    mean = (0.2, 0.4, 0.6)
    for channels in (3, 1):
        input = {**INPUT, "mean": mean[:channels], "std": (1.0,) * channels}
        input["input_size"] = (channels, HEIGHT, WIDTH)
        for void, dtype in ((0.0, np.float32), (255, np.uint8)):
            seed_all(1)
            transform = MapTransform(input, replace(STILL, rotation=90.0), void)
            image, target = transform(coordinates()[0], np.full((HEIGHT, WIDTH), 7, dtype))
            assert target.dtype == torch.from_numpy(np.zeros(1, dtype)).dtype
            outside = target == void
            assert outside.any()
            assert target[~outside].unique().tolist() == [7]
            # Zero after normalisation.
            assert (image[:, outside].abs() < 0.01).float().mean() > 0.9


@pytest.mark.parametrize("share", [1.0, 0.64, 0.25])
def test_depth_is_divided_by_the_zoom(share):
    sample = coordinates()[0], np.full((HEIGHT, WIDTH), 5, np.float32)
    for size in ((HEIGHT, WIDTH), (30, 40), (17, 90)):
        augment = replace(STILL, crop_scale=(share, share))
        _, depth = transformed(augment, size, sample=sample, is_depth=True)
        assert depth.unique().tolist() == pytest.approx([5 * share**0.5])
        _, labels = transformed(augment, size, sample=sample)
        assert labels.unique().tolist() == [5]


@pytest.mark.parametrize(("is_depth", "least"), [(True, 0.8), (False, 0.35)])
def test_crops_are_those_that_suit_the_task(is_depth, least):
    sample = coordinates()[0], np.mgrid[:HEIGHT, :WIDTH][1].astype(np.float32)
    by_default, given = replace(STILL, crop_scale=None), replace(STILL, crop_scale=(least, 1.0))
    seen = []
    for seed in range(40):
        options = {"seed": seed, "sample": sample, "is_depth": is_depth}
        image, target = transformed(by_default, **options)
        expected_image, expected = transformed(given, **options)
        torch.testing.assert_close(image, expected_image, rtol=0, atol=0)
        torch.testing.assert_close(target, expected, rtol=0, atol=0)
        seen.append(len(target.unique()) / WIDTH)
    assert least**0.5 - 0.05 < min(seen) < least**0.5 + 0.1


def test_crops_of_images_with_labels_have_a_default():
    scales = [
        ImageTransform(INPUT, AugmentConfig(crop_scale=given)).transform.transforms[0].scale
        for given in (None, (0.35, 1.0), (0.6, 0.9))
    ]
    assert scales == [(0.35, 1.0), (0.35, 1.0), (0.6, 0.9)]


def test_a_wall_that_is_cropped_looks_as_one_that_is_nearer():
    """What is W wide at depth z is f W / z pixels wide: depth times pixels stays."""
    marked = np.full((HEIGHT, WIDTH), 4, np.float32)
    marked[:, [35, 45]] = 8
    seen = 0
    for seed in range(20):
        augment = replace(STILL, crop_scale=(0.4, 0.9))
        _, depth = transformed(augment, (480, 640), seed, (coordinates()[0], marked), is_depth=True)
        bars = torch.nonzero(depth[0] > 1.5 * depth.min())[:, 0]
        if len(bars) and (bars.diff() > 1).any():
            left, right = bars[bars.diff(append=bars[-1:]).argmax()], bars[-1]
            apart = float(right - left) / 8
            assert apart * float(depth.min()) == pytest.approx(10 * 4, rel=0.05)
            seen += 1
    assert seen > 10


def test_no_measurement_stays_none():
    depth = coordinates()[1] + 1
    depth[::2] = 0
    _, found = transformed(replace(STILL, crop_scale=(0.5, 0.5)), sample=(coordinates()[0], depth),
                           is_depth=True)  # fmt: skip
    assert 0.4 < (found == 0).float().mean() < 0.6


@pytest.mark.parametrize("size", [(60, 80), (32, 32), (120, 90)])
def test_evaluation_is_of_the_whole_image_and_leaves_the_map_at_its_size(size):
    image, target = transformed(None, size, is_depth=True)
    assert image.shape == (3, *size)
    np.testing.assert_array_equal(target, coordinates()[1])
    # The borders of the image are there.
    corners = 255 / STEP * image[:2, [0, -1], [0, -1]]
    ends = torch.tensor([[0, WIDTH - 1], [0, HEIGHT - 1]])
    assert (corners - ends).abs().max() < 1.5
    again, _ = transformed(None, size, seed=9)
    assert torch.equal(image, again)


def test_colours_change_in_the_image_alone():
    jitter = replace(STILL, color_jitter=0.5)
    plain, target = transformed()
    changed = [transformed(jitter, seed=seed) for seed in range(3)]
    for image, map_ in changed:
        assert torch.equal(map_, target)
        assert (image - plain).abs().mean() > 0.01
    assert not torch.equal(changed[0][0], changed[1][0])


def test_a_sample_is_a_function_of_the_seed():
    augment = AugmentConfig(rotation=5.0, color_jitter=0.4)
    one, again, other = (transformed(augment, seed=seed) for seed in (1, 1, 2))
    assert all(map(torch.equal, one, again))
    assert not any(map(torch.equal, one, other))


def test_grey_images_are_those_of_the_colours():
    augment = AugmentConfig(rotation=5.0, color_jitter=0.4)
    for each in (None, augment):
        grey, target = transformed(each, channels=1)
        colours, other = transformed(each)
        assert grey.shape == (1, HEIGHT, WIDTH)
        assert torch.equal(target, other)
        weights = torch.tensor([0.299, 0.587, 0.114])
        assert ((grey[0] - torch.einsum("c,chw", weights, colours)).abs() < 0.01).all()


@pytest.mark.parametrize("section", ["depth", "segmentation"])
def test_a_task_gives_its_void_and_its_geometry(section):
    task = dense_task(section, **({"scale": 0.1} if section == "depth" else {}))
    transform = task.transform(INPUT, replace(STILL, crop_scale=(0.25, 0.25), rotation=60.0))
    seed_all(0)
    target = np.full((HEIGHT, WIDTH), 4, np.float32 if section == "depth" else np.uint8)
    found = {*transform(coordinates()[0], target)[1].unique().tolist()}
    assert found <= ({0.0, 2.0} if section == "depth" else {4, 255})
    assert max(found - {255}) == (2 if section == "depth" else 4)


@pytest.mark.parametrize("section", ["depth", "segmentation"])
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("auto_augment", "rand-m9"),
        ("erasing", 0.2),
        ("mixup", 0.8),
        ("cutmix", 1.0),
        ("smoothing", 0.2),
    ],
)
def test_augmentations_without_a_meaning_for_maps_are_refused(section, key, value):
    message = rf"^data\.augment\.{key}: {value} is for classification, not for {section}$"
    with pytest.raises(InputError, match=message):
        dense_task(section, augment=AugmentConfig(**{key: value}))


def test_rotation_is_refused_for_labels():
    message = r"^data\.augment\.rotation: 5 is for tasks whose targets are maps"
    with pytest.raises(InputError, match=message):
        ImageTransform(INPUT, AugmentConfig(rotation=5.0))
    for value in (-1.0, 181.0, float("nan")):
        with pytest.raises(InputError, match=r"^data\.augment\.rotation: must lie in 0 to 180"):
            AugmentConfig(rotation=value)
