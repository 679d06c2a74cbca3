"""A supernet is a pure function of images and arch, under timm's parameter names."""

import copy
import gc
import pickle
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from supernet_toys import (
    BACKBONES,
    FEW,
    OWN,
    SHARED,
    build,
    build_supernet,
    close,
    drawn,
    first,
    full_space,
    hand_made,
    images_for,
    pool,
    skip,
    some_archs,
    supernet_of,
)
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import VisionTransformer

from space import InputError, Rules, SearchSpace
from supernet import Supernet, backbone_shape


@pytest.mark.parametrize("name", BACKBONES)
def test_names_are_those_of_timm_and_of_the_operators(name):
    backbone, net = build(name), build_supernet(name)
    timm, ours = backbone.state_dict(), net.state_dict()
    added = [key for key in ours if key not in timm]
    assert timm.keys() <= ours.keys()
    assert all(key.startswith(("pools.", "selectors.")) for key in added)
    missing, unexpected = net.load_state_dict(timm, strict=False)
    assert (sorted(missing), unexpected) == (sorted(added), [])
    images = images_for(net)
    assert torch.equal(net(images, net.space.largest()), backbone(images))


def test_the_class_is_that_of_the_backbone():
    assert isinstance(build_supernet("class token"), VisionTransformer)
    assert isinstance(build_supernet("distilled"), VisionTransformerDistilled)
    assert not isinstance(build_supernet("class token"), VisionTransformerDistilled)
    assert isinstance(build_supernet("distilled"), Supernet)


def test_parameters_are_shared_with_the_backbone():
    backbone = build("class token")
    net = Supernet(backbone, full_space(backbone_shape(backbone)))
    ours = dict(net.named_parameters())
    assert all(ours[name] is parameter for name, parameter in backbone.named_parameters())

    net.reset_classifier(3)
    net.register_forward_pre_hook(lambda *_: pytest.fail("a hook of the supernet alone"))
    assert backbone(images_for(backbone)).shape == (2, 7)
    assert not hasattr(backbone, "pools")


SPACES = [
    (
        {"skip": {"blocks": [2, 4], "ratios": [0.5], "selectors": ["map"]}},
        [],
        [2, 4],
    ),
    (
        {"skip": {"blocks": [1, 2, 3], "ratios": [0.5], "selectors": ["map", "cls"], "max_run": 3}},
        [],
        [1, 2, 3],
    ),
    ({"skip": {"blocks": "all", "ratios": [0.5], "selectors": ["cls", "random"]}}, [], []),
    # At 25 tokens a skip of 0.01 drops none: there is nothing to select.
    ({"skip": {"blocks": "all", "ratios": [0.01]}}, [], []),
    (
        {"pool": {"blocks": [2, 5], "kinds": ["conv2d", "avg2d"], "grids": [3, 2]}},
        [(2, "conv2d"), (5, "conv2d")],
        [],
    ),
    # The second grid is half of the first: a convolution reaches it only from there.
    (
        {"pool": {"blocks": [0, 3], "kinds": ["conv2d"], "grids": [3, 2], "max_pools": 1}},
        [(0, "conv2d"), (3, "conv2d")],
        [],
    ),
    ({"pool": {"blocks": [3], "kinds": ["conv2d", "max2d"], "grids": [2, 4]}}, [], []),
    (
        {
            "pool": {
                "blocks": [1],
                "kinds": ["avg1d", "conv1d", "conv2d"],
                "grids": [3],
                "strides": [2],
            }
        },
        [(1, "conv1d"), (1, "conv2d")],
        [],
    ),
    ({"share": {"blocks": "all", "max_run": 2}}, [], []),
]


@pytest.mark.parametrize(("values", "pools", "selectors"), SPACES, ids=lambda v: str(v)[:60])
def test_operators_are_where_the_space_can_choose_them(values, pools, selectors):
    backbone = build("class token")
    net = Supernet(backbone, SearchSpace.from_dict(values, backbone_shape(backbone)))
    found = [(int(i), kind) for i, kinds in net.pools.items() for kind in kinds]
    assert sorted(found) == pools
    assert [int(i) for i in net.selectors] == selectors


@pytest.mark.parametrize("name", FEW)
def test_a_call_changes_nothing(name):
    net = build_supernet(name)
    before, state = _attributes(net), copy.deepcopy(net.state_dict())
    images = images_for(net)
    for arch in some_archs(net.space, 5):
        net(images, arch)
        net.forward_intermediates(images, arch=arch)
    assert _attributes(net) == before
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())


def _attributes(net):
    return {
        (name, key): value if isinstance(value, int | float | str | None) else id(value)
        for name, module in net.named_modules()
        for key, value in vars(module).items()
    }


@pytest.mark.parametrize("name", ["class token", "not square"])
def test_threads_do_not_meet(name):
    net, archs = supernet_of(name), some_archs(supernet_of(name).space, 12)
    images = images_for(net)
    alone = [net(images, arch) for arch in archs]
    with ThreadPoolExecutor(4) as threads:
        for _ in range(3):
            together = list(threads.map(lambda arch: net(images, arch), archs))
            assert all(torch.equal(a, b) for a, b in zip(together, alone, strict=True))


@pytest.mark.parametrize("name", ["class token", "registers", "distilled"])
def test_gradient_checkpointing_changes_no_gradient(name):
    net = build_supernet(name).train()
    for block in net.blocks:
        block.attn.attn_drop.p = block.attn.proj_drop.p = 0.1
    for arch in some_archs(net.space, 3):
        found = []
        for enable in (False, True):
            net.set_grad_checkpointing(enable)
            net.zero_grad()
            torch.manual_seed(0)
            net(images_for(net), arch).square().sum().backward()
            found.append({n: p.grad for n, p in net.named_parameters() if p.grad is not None})
        assert found[0].keys() == found[1].keys()
        for key, grad in found[0].items():
            close(found[1][key], grad)


def test_gradient_checkpointing_runs_blocks_again():
    net, calls = build_supernet("class token"), []
    net.set_grad_checkpointing()
    for block in net.blocks:
        block.norm1.register_forward_pre_hook(lambda *_: calls.append(1))
    for train, runs in ((True, 12), (False, 6)):
        calls.clear()
        net.train(train)(images_for(net), hand_made(net.shape)[0]).sum().backward()
        assert len(calls) == runs


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
@pytest.mark.parametrize("name", ["class token", "distilled"])
def test_copies_and_pickles_compute_the_same(name, copied):
    net = supernet_of(name)
    twin, images = copied(net), images_for(net)
    assert type(twin) is type(net)
    for arch in some_archs(net.space, 3):
        assert torch.equal(twin(images, arch), net(images, arch))
    ours = {id(p) for p in net.parameters()}
    assert not any(id(p) in ours for p in twin.parameters())


def test_any_arch_of_the_space_runs_as_its_canonical_form():
    net = supernet_of("class token")
    images = images_for(net)
    for loose, canonical in (
        (first(OWN, skip(0.01)), first()),
        (first(OWN, skip(0.5), skip(0.5, "cls")), first(OWN, skip(0.5), skip(0.5))),
        (first(OWN, pool("avg2d", (5, 5))), first()),
    ):
        assert net.space.canonical(loose) == canonical
        assert torch.equal(net(images, loose), net(images, canonical))


def test_the_rules_of_a_space_are_those_of_its_supernet():
    backbone = build("class token")
    space = replace(full_space(backbone_shape(backbone)), rules=Rules(keep_2d=True))
    net = Supernet(backbone, space)
    kernels = {kind for pools in net.pools.values() for kind in pools}
    assert kernels == {"conv2d"}
    arch = first(pool("conv1d", 2))
    with pytest.raises(InputError, match=r"not in the space: blocks\[0\]: pool conv1d/2 leaves no"):
        net(images_for(net), arch)
    net.reset_classifier(3)
    assert net.space.rules == Rules(keep_2d=True)


def test_a_space_goes_with_its_supernet():
    net = build_supernet("class token")
    # Equal to no other test's: theirs would do in its place.
    values = net.space.to_dict() | {"share": {"max_run": 4}}
    net.space = SearchSpace.from_dict(values, net.shape)
    space = weakref.ref(net.space)
    for arch in some_archs(net.space, 3):
        net(images_for(net), arch)
    del net
    gc.collect()
    assert space() is None


@pytest.mark.parametrize(
    ("blocks", "reason"),
    [
        ((SHARED,), r"blocks\[0\]: block 0 has no block before it"),
        ((OWN, skip(0.6)), r"blocks\[1\]: the space lists no skip 0.6:map here"),
        ((OWN, pool("avg2d", (4, 4))), r"blocks\[1\]: the space lists no pool avg2d:4x4 here"),
        ((OWN, SHARED, skip()), r"blocks\[2\]: a run of skipping blocks starts only after"),
    ],
)
def test_an_arch_outside_the_space_is_refused(blocks, reason):
    net = supernet_of("class token")
    with pytest.raises(InputError, match="the arch is not in the space: " + reason) as refused:
        net(images_for(net), first(*blocks))
    assert "\n" not in str(refused.value)


def test_an_arch_of_another_depth_is_refused():
    net = supernet_of("class token")
    with pytest.raises(InputError, match="the arch has 12 blocks, the backbone 6"):
        net(images_for(net), net.space.largest().full(12))


def test_a_space_of_another_shape_is_refused():
    with pytest.raises(InputError, match=r"not the one of the space: grid \(5, 5\) instead of"):
        Supernet(build("class token"), supernet_of("not square").space)


@pytest.mark.parametrize("name", ["class token", "average pooling", "no positions", "scaled"])
def test_autocast_runs_every_arch(name):
    net = build_supernet(name, torch.float32).requires_grad_(False)
    images = images_for(net, dtype=torch.float32)
    for arch in [*hand_made(net.shape), *drawn(net.space, 10)]:
        with torch.autocast("cpu", torch.bfloat16):
            logits = net(images, arch)
        exact = net(images, arch)
        if not any(block.skip for block in arch.blocks):
            close(logits.float(), exact, 0.1)
        assert logits.isfinite().all()
