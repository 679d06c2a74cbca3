"""The full arch is the timm model; other archs answer to timm's interface too."""

import copy

import pytest
import supernet_reference as reference
import torch
from supernet_toys import (
    BACKBONES,
    DEPTH,
    FEW,
    OWN,
    SHARED,
    build,
    build_supernet,
    close,
    first,
    hand_made,
    images_for,
    pool,
    skip,
    supernet_of,
)

from space import InputError
from supernet import Supernet, backbone_shape, extract


def pair(name):
    """A backbone and a supernet over a copy of it."""
    backbone = build(name)
    return backbone, Supernet(copy.deepcopy(backbone), supernet_of(name).space)


def set_fused(model, fused):
    for block in model.blocks:
        block.attn.fused_attn = fused


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("name", BACKBONES)
def test_the_full_arch_is_the_backbone(name, fused):
    backbone, net = pair(name)
    set_fused(backbone, fused)
    set_fused(net, fused)
    images, full = images_for(net), net.space.largest()
    tokens = backbone.forward_features(images)
    assert torch.equal(net.forward_features(images, full), tokens)
    assert torch.equal(net.forward_head(tokens), backbone.forward_head(tokens))
    assert torch.equal(
        net.forward_head(tokens, pre_logits=True), backbone.forward_head(tokens, pre_logits=True)
    )
    assert torch.equal(net(images, full), backbone(images))
    assert torch.equal(extract(net, full)(images), backbone(images))


@pytest.mark.parametrize("name", ["class token", "registers", "distilled"])
def test_the_full_arch_trains_as_the_backbone(name):
    backbone, net = pair(name)
    for model in (backbone, net):
        model.train()
        model.pos_drop.p = model.head_drop.p = 0.1
        for block in model.blocks:
            block.attn.attn_drop.p = block.attn.proj_drop.p = block.mlp.drop1.p = 0.1
    images, found = images_for(net), []
    for model, arch in ((backbone, ()), (net, (net.space.largest(),))):
        torch.manual_seed(0)
        logits = model(images, *arch)
        logits.square().sum().backward()
        found.append([logits, *(parameter.grad for parameter in model.parameters())])
    for timm, ours in zip(found[0], found[1], strict=False):
        assert torch.equal(ours, timm)
    assert all(grad is None for grad in found[1][len(found[0]) :])


def test_distilled_training_gives_two_heads():
    backbone, net = pair("distilled")
    shape, images = net.shape, images_for(net)
    for model in (backbone, net):
        model.train().set_distilled_training()
    both = net(images, net.space.largest())
    assert all(torch.equal(*heads) for heads in zip(both, backbone(images), strict=True))
    subnet = extract(net, hand_made(shape)[0])
    assert len(subnet(images)) == 2
    assert subnet.eval()(images).shape == (2, 7)
    assert backbone_shape(backbone) == shape


VARIANTS = [
    {"indices": 2},
    {"indices": [1]},
    {"indices": [1, -1], "norm": True, "return_prefix_tokens": True},
    {"indices": [0, 3], "stop_early": True, "output_fmt": "NLC"},
    {"indices": [2], "stop_early": True, "intermediates_only": True},
    {"output_dict": True, "return_prefix_tokens": True},
    {"output_dict": True, "intermediates_only": True, "norm": True},
]


def flat(found):
    """The tensors of any answer, in order, and its structure."""
    if isinstance(found, dict):
        return [(key, *each) for key, value in found.items() for each in flat(value)]
    if isinstance(found, list | tuple):
        return [(i, *each) for i, value in enumerate(found) for each in flat(value)]
    return [(found,)]


def same(found, expected):
    found, expected = flat(found), flat(expected)
    assert [each[:-1] for each in found] == [each[:-1] for each in expected]
    assert all(torch.equal(a[-1], b[-1]) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
@pytest.mark.parametrize("name", ["class token", "average pooling", "not square", "hybrid"])
def test_intermediates_of_the_full_arch(name, variant):
    backbone, net = pair(name)
    images, full = images_for(net), net.space.largest()
    expected = backbone.forward_intermediates(images, **variant)
    same(net.forward_intermediates(images, **variant, arch=full), expected)


@pytest.mark.parametrize("name", ["registers", "average pooling"])
def test_intermediate_layers_of_the_full_arch(name):
    backbone, net = pair(name)
    subnet, images = extract(net, net.space.largest()), images_for(net)
    for args in ({"n": 3}, {"n": [0, 4], "reshape": True, "return_prefix_tokens": True}):
        same(
            subnet.get_intermediate_layers(images, **args),
            backbone.get_intermediate_layers(images, **args),
        )


@pytest.mark.parametrize("place", range(9))
@pytest.mark.parametrize("name", ["class token", "not square"])
def test_intermediates_at_the_grid_of_each_block(name, place):
    net = supernet_of(name)
    arch, images = hand_made(net.shape)[place], images_for(net)
    logits, blocks = reference.forward(net, images, arch)
    subnet = extract(net, arch)
    last, found = subnet.forward_intermediates(images, return_prefix_tokens=True)
    close(subnet.forward_head(last), logits)
    for (patches, prefix), (tokens, grid) in zip(found, blocks, strict=True):
        close(prefix, tokens[:, :1])
        expected = tokens[:, 1:]
        if grid is not None:
            expected = expected.transpose(1, 2).reshape(len(images), -1, *grid)
        assert patches.shape == expected.shape
        close(patches, expected)
    early, (features,) = subnet.forward_intermediates(
        images, [1], stop_early=True, norm=True, output_fmt="NLC"
    )
    close(early, net.norm(blocks[1][0]))
    assert torch.equal(features, early[:, 1:])


@pytest.mark.parametrize("last", range(DEPTH))
@pytest.mark.parametrize("name", FEW[:2])
def test_pruning_cuts_the_arch(name, last):
    net = supernet_of(name)
    for arch in hand_made(net.shape):
        subnet, images = extract(net, arch), images_for(net)
        expected = subnet.forward_intermediates(images, [last], intermediates_only=True)
        assert subnet.prune_intermediate_layers([last]) == [last]
        found = subnet.forward_intermediates(images, [last], intermediates_only=True)
        close(found[0], expected[0])
        assert len(subnet.blocks) == subnet.arch.depth == subnet.shape.depth == last + 1
        assert all(int(i) <= last for i in (*subnet.pools, *subnet.selectors))
        assert isinstance(subnet.get_classifier(), torch.nn.Identity)
        assert subnet(images).shape[-1] == subnet.embed_dim


@pytest.mark.parametrize("args", [{}, {"prune_norm": True}, {"prune_head": False}], ids=str)
@pytest.mark.parametrize("name", ["class token", "average pooling", "attention pooling"])
def test_pruning_the_full_arch_is_that_of_timm(name, args):
    backbone, net = pair(name)
    subnet, images = extract(net, net.space.largest()), images_for(net)
    assert subnet.prune_intermediate_layers([2, -3], **args) == [2, 3]
    backbone.prune_intermediate_layers([2, -3], **args)
    assert torch.equal(subnet(images), backbone(images))


def test_no_mask_is_taken_as_timm_gives_it():
    backbone, net = pair("class token")
    images, full, args = images_for(net), net.space.largest(), {"attn_mask": None}
    subnet = extract(net, full)
    for given in (args, args | {"is_causal": False}):
        assert torch.equal(subnet(images, **given), backbone(images, **given))
        tokens = backbone.forward_features(images, **given)
        assert torch.equal(subnet.forward_features(images, **given), tokens)
        assert torch.equal(net(images, full, **given), backbone(images, **given))
    assert torch.equal(net(images, full, None, False), backbone(images))
    with pytest.raises(InputError, match="attention masks are not supported"):
        net(images, full, torch.ones(26, 26))


# timm's own cannot take an empty batch without positions.
@pytest.mark.parametrize("name", sorted(BACKBONES.keys() - {"no positions"}))
def test_no_images_give_no_logits(name):
    net = supernet_of(name)
    none = images_for(net, 0)
    expected = build(name)(none)
    assert torch.equal(net(none, net.space.largest()), expected)
    for arch in hand_made(net.shape):
        logits = net(none, arch)
        assert (len(logits), logits.shape[-1]) == (0, expected.shape[-1])


@pytest.mark.parametrize("place", range(9))
def test_no_images_give_no_features(place):
    net = supernet_of("registers")
    subnet = extract(net, hand_made(net.shape)[place])
    some = subnet.forward_intermediates(images_for(net), intermediates_only=True)
    none = subnet.forward_intermediates(images_for(net, 0), intermediates_only=True)
    assert [x.shape for x in none] == [(0, *x.shape[1:]) for x in some]


def test_no_images_train_nothing():
    net = build_supernet("registers").train()
    for arch in hand_made(net.shape):
        net(images_for(net, 0), arch).sum().backward()
    assert not any(p.grad is not None and p.grad.any() for p in net.parameters())


def test_what_is_refused_by_name():
    net = build_supernet("class token")
    images = images_for(net)
    with pytest.raises(InputError, match=r"output_fmt must be NCHW or NLC, got 'NHWC'"):
        net.forward_intermediates(images, output_fmt="NHWC", arch=net.space.largest())
    for args in ({"is_causal": True}, {"attn_mask": torch.ones(26, 26)}):
        for call in (net, net.forward_features, net.forward_intermediates):
            with pytest.raises(InputError, match="attention masks are not supported"):
                call(images, **args, arch=net.space.largest())
    with pytest.raises(InputError, match="only a subnet can be pruned"):
        net.prune_intermediate_layers()
    with pytest.raises(InputError, match="set_input_size: an arch belongs to its grid"):
        extract(net, net.space.largest()).set_input_size(48)
    with pytest.raises(InputError, match="a supernet needs an arch"):
        net(images)


def test_observers_see_blocks_that_attend_to_all_tokens_and_the_first_of_a_run():
    net = build_supernet("registers")
    arch = first(OWN, skip(), skip(), OWN, SHARED, pool("avg2d", (3, 3)))
    images, seen = images_for(net), {}
    tokens = net.forward_features(
        images, arch, observe=lambda i, query, key: seen.update({i: (query, key)})
    )
    assert torch.equal(tokens, net.forward_features(images, arch))
    assert list(seen) == [0, 1, 3, 5]
    attn, x = net.blocks[0].attn, net.blocks[0].norm1(net.embed(images))
    query, key, _ = attn.qkv(x).reshape(2, 29, 3, 4, 8).permute(2, 0, 3, 1, 4)
    close(seen[0][0], attn.q_norm(query))
    close(seen[0][1], attn.k_norm(key))
    # Block 1 works on 17 tokens, and is seen as if it attended to all of them.
    attn, x = net.blocks[1].attn, net.blocks[1].norm1(net.blocks[0](net.embed(images)))
    close(seen[1][0], attn.q_norm(attn.qkv(x)[..., :32].unflatten(2, (4, 8)).transpose(1, 2)))
    assert [seen[i][0].shape[2] for i in seen] == [29, 29, 29, 13]
    assert not any(each.requires_grad for pair in seen.values() for each in pair)
