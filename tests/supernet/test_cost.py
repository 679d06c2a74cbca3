"""Analytic costs are what torch's counter and numel read off the running subnet."""

import pytest
import timm
from dense_toys import SECTIONS, dense_supernet, dense_task
from supernet_toys import (
    BACKBONES,
    counted,
    drawn,
    full_space,
    hand_made,
    images_for,
    numel,
    some_archs,
    supernet_of,
    watch_blocks,
)

from space import Arch, SearchSpace, macs, params, token_counts
from supernet import backbone_shape, extract
from supernet.models.subnet import cut_subnet


def equal(net, archs):
    for arch in archs:
        subnet = extract(net, arch)
        assert counted(subnet) == macs(arch, net.shape)
        assert numel(subnet) == params(arch, net.shape)


@pytest.mark.parametrize("name", BACKBONES)
def test_of_drawn_archs(name):
    net = supernet_of(name)
    equal(net, [*drawn(net.space, 3, seed=3), net.space.largest()])


@pytest.mark.parametrize("name", ["registers", "gated", "not square"])
def test_of_every_pair_of_operators(name):
    equal(supernet_of(name), hand_made(supernet_of(name).shape))


def test_macs_are_for_one_image():
    net = supernet_of("attention pooling with prefix")
    for arch in hand_made(net.shape)[::2]:
        assert counted(extract(net, arch), batch=3) == 3 * macs(arch, net.shape)


def test_tokens_of_each_block(monkeypatch):
    net, seen = supernet_of("registers"), watch_blocks(monkeypatch)
    for arch in some_archs(net.space, 5):
        seen.clear()
        net(images_for(net), arch)
        assert [x.shape[1] - net.num_prefix_tokens for x, _, _ in seen] == token_counts(
            arch, net.shape
        )


NAMED = {
    "deit_tiny_patch16_224": (1_253_683_200, 5_717_416),
    "deit_small_patch16_224": (4_598_882_304, 22_050_664),
    "deit_base_patch16_224": (17_563_828_224, 86_567_656),
}


@pytest.mark.parametrize("name", NAMED)
def test_of_deit(name):
    backbone = timm.create_model(name, device="meta", weight_init="skip")
    shape = backbone_shape(backbone)
    full = Arch.full(12)
    assert (macs(full, shape), params(full, shape)) == NAMED[name]
    assert params(full, shape) == numel(backbone)
    for arch in drawn(full_space(shape), 2):
        backbone = timm.create_model(name, device="meta", weight_init="skip")
        subnet = cut_subnet(backbone, shape, arch)
        assert counted(subnet) == macs(arch, shape)
        assert numel(subnet) == params(arch, shape)


OTHERS = [
    "vit_small_patch14_dinov2",
    "vit_medium_patch16_gap_240",
    "vit_base_patch16_siglip_224",
    "vit_so150m2_patch16_reg1_gap_256",
    "deit3_small_patch16_224",
    "deit_tiny_distilled_patch16_224",
    "vit_giant_patch14_reg4_dinov2",
    "vit_small_r26_s32_224",
]


@pytest.mark.parametrize("name", OTHERS)
def test_of_other_models_of_timm(name):
    hybrid = {} if "_r26_" in name else {"device": "meta"}  # its stem measures itself on images
    backbone = timm.create_model(name, weight_init="skip", **hybrid).to("meta")
    shape = backbone_shape(backbone)
    full = Arch.full(shape.depth)
    assert counted(backbone) == macs(full, shape)
    assert numel(backbone) == params(full, shape)


@pytest.mark.parametrize("section", SECTIONS)
def test_of_dense_heads(section):
    """With the head, which costs the same for every arch."""
    net = dense_supernet(section)
    equal(net, [*drawn(net.space, 8, seed=4), net.space.largest(), net.space.smallest()])
    plain = dense_supernet(section).shape
    assert plain == net.shape
    assert plain.head.macs == counted_head(net) > 0


def counted_head(net):
    """The MACs that a network has beyond those of its stem and blocks."""
    subnet = extract(net, net.space.largest())
    whole = counted(subnet)
    subnet.reset_classifier(0)
    return whole - counted(subnet)


@pytest.mark.parametrize("head", ["linear", "dpt"])
@pytest.mark.parametrize("task", [{"name": "depth"}, {"name": "segmentation", "classes": 40}])
def test_of_dinov2_with_dense_heads(head, task):
    size = {"img_size": (140, 168), "device": "meta", "weight_init": "skip"}
    backbone = timm.create_model("vit_small_patch14_reg4_dinov2", **size)
    dense_task({**task, "head": {"name": head}}).reset_head(backbone, 0)
    shape = backbone_shape(backbone)
    for arch in [Arch.full(12), *drawn(dense_space(shape), 3)]:
        subnet = cut_subnet(backbone, shape, arch)
        assert counted(subnet) == macs(arch, shape)
        assert numel(subnet) == params(arch, shape)
    share = shape.head.macs / macs(Arch.full(12), shape)
    # Sized for a small ViT.
    assert share < (0.05 if head == "linear" else 0.3)


def dense_space(shape):
    """A space whose archs keep a token grid."""
    section = {
        "pool": {"kinds": ["avg2d", "conv2d"], "grids": [[5, 6]], "max_pools": 1},
        "skip": {"ratios": [0.5], "selectors": ["map"], "max_run": 2},
    }
    return SearchSpace.from_dict(section, shape)
