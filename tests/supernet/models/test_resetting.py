"""A head that is reset and blocks that are pruned: costs are measured anew, files go round."""

import pytest
import timm
import torch
from supernet_toys import (
    ARGS,
    NAMED,
    OWN,
    SHARED,
    build_supernet,
    counted,
    export,
    first,
    hand_made,
    images_for,
    named_supernet,
    numel,
    pool,
    skip,
    supernet_of,
)

from space import macs, params, save_arch
from supernet import create_subnet, extract, save_weights

DISTILLED = "deit_tiny_distilled_patch16_224"

# A pooling, a run with a selector and shared attention: all of them before and after a cut.
MIXED = first(OWN, skip(), skip(shared=True), pool("conv2d", (3, 3)), OWN, SHARED)


def costs(model, arch, shape):
    assert macs(arch, shape) == counted(model)
    assert params(arch, shape) == numel(model)


def goes_round(subnet, folder, model=NAMED, **args):
    """Save the subnet as its user would, and build it from the file again."""
    file, weights = folder / "again.yaml", folder / "again.safetensors"
    backbone = {"model": model, "args": {**ARGS, **args}}
    save_arch(subnet.arch, file, shape=subnet.shape, backbone=backbone)
    save_weights(subnet, weights)
    images = images_for(subnet, dtype=torch.float32)
    again = create_subnet(file, weights).eval()
    assert torch.equal(again(images), subnet.eval()(images))
    assert (again.shape, again.arch) == (subnet.shape, subnet.arch)


@pytest.mark.parametrize("model", [NAMED, DISTILLED])
@pytest.mark.parametrize("classes", [0, 3])
def test_a_reset_head_is_measured_anew(tmp_path, model, classes):
    subnet = extract(named_supernet(model), MIXED)
    subnet.reset_classifier(classes)
    costs(subnet, subnet.arch, subnet.shape)
    goes_round(subnet, tmp_path, model, num_classes=classes)


@pytest.mark.parametrize("global_pool", ["avg", "max", ""])
def test_a_head_that_pools_otherwise_is_measured_anew(tmp_path, global_pool):
    subnet = extract(named_supernet(), MIXED)
    subnet.reset_classifier(3, global_pool)
    costs(subnet, subnet.arch, subnet.shape)
    # timm keeps the norms where they are, and records the argument that says so.
    args = {"num_classes": 3, "global_pool": global_pool, "fc_norm": False}
    goes_round(subnet, tmp_path, **args)


def test_attention_pooling_that_is_taken_off_costs_nothing():
    subnet = extract(supernet_of("attention pooling"), hand_made(supernet_of("hybrid").shape)[3])
    subnet.reset_classifier(3, "avg")
    costs(subnet, subnet.arch, subnet.shape)


def test_other_classes_by_timms_create_model(tmp_path):
    file, weights, _ = export(tmp_path, MIXED)
    subnet = timm.create_model(
        "tokennas_vit", arch=file, checkpoint_path=str(weights), num_classes=7
    )
    costs(subnet, subnet.arch, subnet.shape)
    subnet = timm.create_model("tokennas_vit", arch=file, num_classes=3)
    costs(subnet, subnet.arch, subnet.shape)
    goes_round(subnet, tmp_path, num_classes=3)


@pytest.mark.parametrize("last", range(6))
def test_a_pruned_subnet_is_measured_anew(tmp_path, last):
    for args, kept in (
        ({}, {"num_classes": 0, "global_pool": "", "fc_norm": False}),
        ({"prune_norm": True}, {"num_classes": 0, "global_pool": "", "final_norm": False}),
        ({"prune_head": False}, {}),
    ):
        subnet = extract(named_supernet(), MIXED)
        subnet.prune_intermediate_layers([last], **args)
        costs(subnet, subnet.arch, subnet.shape)
        goes_round(subnet, tmp_path, depth=last + 1, **kept)


def test_a_supernet_with_another_head_searches_with_its_costs():
    net = build_supernet("average pooling")
    before = net.shape
    net.reset_classifier(20)
    assert net.space.shape == net.shape != before
    for arch in hand_made(net.shape)[:3]:
        costs(extract(net, arch), arch, net.space.shape)
    assert net.shape.head.params - before.head.params == 13 * (net.embed_dim + 1)
