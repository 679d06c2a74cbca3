"""What the tasks that predict maps have in common, apart from the contract of all tasks."""

import pytest
import torch
from dense_toys import SIZE, dense_backbone, dense_supernet, dense_task

from space import InputError
from supernet.tasks.dense import per_image

NAMES = ("depth", "segmentation")


def test_transforms_are_those_of_the_tasks_maps():
    input = {"input_size": (3, *SIZE), "interpolation": "bilinear"}
    depth = dense_task("depth").transform(input, None)
    # A zoomed map of distances is nearer, so nothing may be stretched.
    assert (depth.void, depth.stretch) == (0, 1)
    segmentation = dense_task("segmentation").transform(input, None)
    assert (segmentation.void, segmentation.stretch) == (255, 4 / 3)


@pytest.mark.parametrize("name", NAMES)
def test_a_border_that_no_patch_sees_is_refused(name):
    backbone = dense_backbone(img_size=(18, 24))
    with pytest.raises(InputError) as error:
        dense_task(name).reset_head(backbone, 0)
    assert str(error.value) == (
        "backbone.args: img_size is [18, 24], its sides must be multiples of the patch of 4 x 4, "
        "such as [16, 24]"
    )
    assert backbone.num_classes == 3


def test_means_over_the_valid_pixels_of_each_image():
    values = torch.tensor([[[1.0, 2], [3, torch.nan]], [[1, 1], [1, 1]], [[5, 6], [7, 8]]])
    valid = torch.tensor([[[1, 1], [1, 0]], [[0, 0], [0, 0]], [[0, 0], [0, 1]]]).bool()
    found = per_image(values, valid)
    assert found[[0, 2]].tolist() == [2, 8]
    assert found[1].isnan()


def test_the_head_of_an_elastic_model_is_replaced_with_its_costs():
    supernet = dense_supernet("depth")
    before = supernet.shape
    dense_task("segmentation").reset_head(supernet, 0)
    assert dense_task("segmentation").fits(supernet)
    assert supernet.space.shape == supernet.shape
    assert supernet.shape.head.params != before.head.params
    built = dense_supernet("segmentation")
    assert supernet.shape == built.shape
