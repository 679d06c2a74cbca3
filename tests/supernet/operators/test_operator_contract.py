"""What every operator must keep in a network: the registered ones, and one of a test file."""

import copy
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from supernet_toys import build, close, counted, images_for, numel, randomise
from toy_operator import registered

from space import SearchSpace, macs, params
from supernet import Supernet, backbone_shape, extract
from supernet.operators.base import Flow
from supernet.operators.registry import token_operator, token_operators

# A section of a config for each operator; whoever adds one adds it here.
SECTIONS = {
    "pool": {
        "kinds": ["avg2d", "max2d", "conv2d", "avg1d", "max1d", "conv1d"],
        "grids": [3, [2, 3]],
        "strides": [2],
        "max_pools": 2,
    },
    "share": {"max_run": 2},
    "skip": {"ratios": [0.3, 0.75], "selectors": ["map", "cls", "random"], "max_run": 2},
    "thin": {},
}


def test_every_operator_is_under_contract():
    assert {each.name for each in token_operators()} | {"thin"} == set(SECTIONS)


@pytest.fixture(params=SECTIONS)
def one(request):
    """An operator, a network of it alone, images and archs."""
    known = request.param in {each.name for each in token_operators()}
    with nullcontext() if known else registered():
        backbone = build("class token")
        section = {request.param: SECTIONS[request.param]}
        space = SearchSpace.from_dict(section, backbone_shape(backbone))
        net = randomise(Supernet(backbone, space)).eval()
        rng = np.random.default_rng(0)
        archs = [space.sample(rng) for _ in range(12)]
        yield token_operator(request.param), net, images_for(net, 3), archs


def test_subnets_are_the_supernet_and_cost_what_is_counted(one):
    _, net, images, archs = one
    for arch in archs:
        subnet = extract(net, arch)
        close(subnet(images), net(images, arch))
        assert counted(subnet) == macs(arch, net.shape)
        assert numel(subnet) == params(arch, net.shape)


def test_an_image_is_the_same_alone_and_in_a_batch(one):
    _, net, images, archs = one
    for arch in archs:
        together = net(images, arch)
        for i in range(len(images)):
            close(net(images[i : i + 1], arch), together[i : i + 1])
        assert net(images[:0], arch).shape == (0, net.num_classes)


@torch.inference_mode()
def test_what_a_block_left_is_not_changed(one):
    """Evaluations go on from it many times."""
    _, net, images, archs = one
    for arch in archs:
        flow = Flow(net.embed(images))
        for i, step in enumerate(net.steps(arch)):
            before = copy.deepcopy(flow)
            after = net.run_step(i, step, flow)
            assert torch.equal(flow.x, before.x)
            close(net.run_step(i, step, before).all_tokens(), after.all_tokens(), 1e-12)
            flow = after


def test_its_tokens_are_those_that_the_space_counts(one):
    _, net, images, archs = one
    for arch in archs:
        flow = Flow(net.embed(images))
        for i, step in enumerate(net.steps(arch)):
            flow = net.run_step(i, step, flow)
            assert flow.all_tokens().shape[1] == step.after.patches + net.num_prefix_tokens


def test_chosen_tokens_are_told_in_order(one):
    _, net, images, archs = one
    for arch in archs:
        logits, chosen = net.forward_with_choices(images, arch)
        close(logits, net(images, arch))
        assert len(chosen) == sum(step.restores for step in net.steps(arch))
        for each in chosen:
            assert (each.diff(dim=1) > 0).all()
            assert each.min() >= 0


def test_its_weights_lie_under_its_own_name(one):
    operator, net, _, _ = one
    own = {name for name, _ in net.named_parameters()} - {
        name for name, _ in build("class token").named_parameters()
    }
    assert all(name.startswith(f"{operator.modules}.") for name in own)
    groups = net.auxiliary_parameters()
    if operator.auxiliary is not None:
        assert len(groups[operator.auxiliary]) == len(own)
    for name in own:
        i = int(name.split(".")[1])
        assert 0 <= i < net.shape.depth


def test_gradients_reach_the_stem_through_every_arch(one):
    _, net, images, archs = one
    for arch in archs:
        net.zero_grad()
        net(images, arch).square().sum().backward()
        assert net.patch_embed.proj.weight.grad.abs().sum() > 0
        plain = {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}
        net.zero_grad()
        net.train().set_grad_checkpointing(True)
        net(images, arch).square().sum().backward()
        net.eval().set_grad_checkpointing(False)
        again = {name: p.grad for name, p in net.named_parameters() if p.grad is not None}
        assert plain.keys() == again.keys()
        for name, gradient in plain.items():
            torch.testing.assert_close(again[name], gradient)
