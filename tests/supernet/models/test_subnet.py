"""A subnet computes what the supernet does at its arch, with the weights of that arch alone."""

import pytest
import torch
from supernet_toys import (
    BACKBONES,
    FEW,
    HEADS,
    OWN,
    SHARED,
    WIDTH,
    build_supernet,
    close,
    drawn,
    first,
    hand_made,
    images_for,
    pool,
    skip,
    supernet_of,
)

from space import InputError
from supernet import ElasticViT, Supernet, extract

VALUE_ROWS = ("attn.qkv.weight", "attn.qkv.bias")


@pytest.mark.parametrize("name", BACKBONES)
def test_logits_are_those_of_the_supernet(name):
    net = supernet_of(name)
    images = images_for(net)
    for arch in [*drawn(net.space, 6, seed=1), *hand_made(net.shape)]:
        close(extract(net, arch)(images), net(images, arch))


@pytest.mark.parametrize("name", FEW)
@torch.inference_mode()
def test_so_they_are_under_autocast(name):
    net = build_supernet(name, torch.float32)
    images = images_for(net, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        for arch in [*drawn(net.space, 6, seed=1), *hand_made(net.shape)]:
            subnet = extract(net, arch)
            # Not bit for bit: products of other sizes may be summed in another order.
            close(subnet(images).float(), net(images, arch).float(), 0.02)


@pytest.mark.parametrize("name", FEW)
def test_gradients_are_those_of_the_supernet(name):
    net = build_supernet(name).train()
    for block in net.blocks:
        block.attn.attn_drop.p = block.attn.proj_drop.p = block.mlp.drop1.p = 0.1
    for arch in [*drawn(net.space, 4, seed=2), *hand_made(net.shape)]:
        subnet, found = extract(net, arch), []
        for model, args in ((net, (arch,)), (subnet, ())):
            torch.manual_seed(0)
            model(images_for(net), *args).square().sum().backward()
            found.append({name: p.grad for name, p in model.named_parameters()})
            model.zero_grad()
        _same_gradients(*found, subnet)


def _same_gradients(whole, cut, subnet):
    """Those of the subnet are in the supernet's; all others there are none, or zero."""
    for name, grad in whole.items():
        if name not in cut:
            assert grad is None or not grad.any()
        elif cut[name] is None:
            assert grad is None
        elif grad.shape == cut[name].shape:
            close(cut[name], grad)
        else:
            assert name.endswith(VALUE_ROWS)
            rows = len(cut[name])
            close(cut[name], grad[-rows:])
            assert not grad[:-rows].any()
    assert cut.keys() <= whole.keys()
    trained = {n for n, grad in cut.items() if grad is not None}
    assert trained == {n for n, _ in subnet.named_parameters() if not n.startswith("selectors")}


@pytest.mark.parametrize("name", ["registers", "gated"])
def test_only_what_the_arch_uses(name):
    net = build_supernet(name)
    arch = first(OWN, skip(), skip(shared=True), skip(), pool("conv2d", (3, 3)), SHARED)
    subnet = extract(net, arch)
    names = dict(subnet.named_parameters())
    assert [n for n in names if n.startswith(("pools", "selectors"))] == [
        "pools.4.conv2d.weight",
        "selectors.1.hidden.weight",
        "selectors.1.hidden.bias",
        "selectors.1.predict.weight",
    ]
    rows = net.shape.attention_width
    for i, block in enumerate(subnet.blocks):
        shared = i in (2, 5)
        assert block.attn.qkv.weight.shape == (rows if shared else 3 * rows, WIDTH)
        assert block.attn.num_heads == HEADS
        norms = [n for n in names if n.startswith(f"blocks.{i}.attn.") and "_norm." in n]
        assert len(norms) == (4 if name == "registers" and not shared else 0)
    assert torch.equal(subnet.blocks[2].attn.qkv.weight, net.blocks[2].attn.qkv.weight[-rows:])


def test_a_subnet_is_its_own():
    net = build_supernet("class token")
    arch = hand_made(net.shape)[0]
    subnet, images = extract(net, arch), images_for(net)
    assert isinstance(subnet, ElasticViT)
    assert not isinstance(subnet, Supernet)
    assert not hasattr(subnet, "space")
    before = subnet(images)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.zero_()
    assert torch.equal(subnet(images), before)
    assert subnet.arch == arch


def test_training_mode_and_frozen_parameters_stay():
    net = build_supernet("class token").eval()
    net.selectors.requires_grad_(False)
    net.blocks[2].attn.qkv.bias.requires_grad_(False)
    subnet = extract(net, hand_made(net.shape)[0])
    frozen = [name for name, p in subnet.named_parameters() if not p.requires_grad]
    assert sorted(frozen) == [
        "blocks.2.attn.qkv.bias",
        "selectors.1.hidden.bias",
        "selectors.1.hidden.weight",
        "selectors.1.predict.weight",
    ]
    assert not subnet.training
    assert extract(net.train(), subnet.arch).training


def test_an_arch_is_extracted_in_canonical_form():
    net = supernet_of("class token")
    arch = first(OWN, skip(0.51), skip(0.5, "cls"), SHARED)
    with pytest.raises(InputError, match="the arch is not in the space"):
        extract(net, arch)
    loose = first(OWN, skip(0.5), skip(0.5, "cls"))
    subnet = extract(net, loose)
    assert subnet.arch == first(OWN, skip(0.5), skip(0.5))
    images = images_for(net)
    close(subnet(images), net(images, loose))


def test_two_subnets_of_one_supernet_run_after_each_other():
    net = supernet_of("not square")
    one, other = (extract(net, arch) for arch in hand_made(net.shape)[:2])
    images = images_for(net)
    first_time = one(images), other(images), net(images, one.arch)
    again = one(images), other(images), net(images, one.arch)
    assert all(torch.equal(a, b) for a, b in zip(first_time, again, strict=True))
    assert not torch.equal(first_time[0], first_time[1])


def test_a_subnet_has_no_weights_for_other_archs():
    net = supernet_of("class token")
    with pytest.raises(RuntimeError):
        extract(net, first(OWN, SHARED))(images_for(net), net.space.largest())
