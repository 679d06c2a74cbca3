"""Subnets as encoders: timm's `features_only` and `feature_info`, and inside other libraries."""

import json

import pytest
import timm
import torch
from dense_toys import ARGS, MODEL, dense_backbone, dense_images, dense_supernet, save_dense
from supernet_toys import (
    OWN,
    build_supernet,
    close,
    drawn,
    first,
    images_for,
    pool,
    skip,
    supernet_of,
)
from timm.models._features import FeatureGetterNet, FeatureInfo

from space import Arch, InputError, load_arch_file
from supernet import create_subnet, extract
from supernet.export import hub_config

POOLED = Arch((OWN, pool("avg2d", (3, 4)), skip(0.5), pool("avg2d", (2, 3))))
LARGE = {"img_size": (64, 96), "patch_size": 16}


def test_reductions_are_those_after_pooling():
    supernet = dense_supernet(None)
    subnet = extract(supernet, Arch((OWN, pool("conv2d", (2, 3)), OWN, OWN)))
    assert subnet.feature_info == [
        {"module": f"blocks.{i}", "num_chs": 16, "reduction": reduction}
        for i, reduction in enumerate([4, 8, 8, 8])
    ]
    # The greater one of both axes: 4 * 6 / 4 is 6; that of rows, 4 * 4 / 3, is no integer.
    subnet = extract(supernet, POOLED)
    assert [each["reduction"] for each in subnet.feature_info] == [4, 6, 6, 8]
    net = supernet_of("class token")
    subnet = extract(net, first(pool("avg2d", (3, 3))))
    assert [each["reduction"] for each in subnet.feature_info] == [8 * 5 / 3] * 6


def test_reductions_are_those_of_the_shapes_of_the_features():
    for name in ("not square", "hybrid", "registers"):
        net = supernet_of(name)
        for arch in drawn(net.space, 6, seed=5):
            subnet, images = extract(net, arch), images_for(net)
            assert len(FeatureInfo(subnet.feature_info, 6)) == 6
            features = subnet.forward_intermediates(images, intermediates_only=True)
            before = max(subnet.patch_embed.feat_ratio(as_scalar=False))
            for i, (info, each) in enumerate(zip(subnet.feature_info, features, strict=True)):
                assert (info["module"], info["num_chs"]) == (f"blocks.{i}", each.shape[1]) or (
                    each.ndim == 3
                )
                if each.ndim == 4:
                    sides = zip(images.shape[2:], each.shape[2:], strict=True)
                    before = max(image / side for image, side in sides)
                # Without a grid, that of the last one.
                assert info["reduction"] == pytest.approx(before)


def test_the_backbones_own_description_stays_as_it_was():
    net = build_supernet("class token")
    described = [dict(each) for each in net.feature_info]
    subnet = extract(net, first(pool("avg2d", (3, 3))))
    assert net.feature_info == described
    subnet.prune_intermediate_layers([1])
    assert len(subnet.feature_info) == 2


@pytest.mark.parametrize("section", [None, "depth", "depth_dpt"])
@pytest.mark.parametrize("indices", [(1, 3), (0, 2), [-1], 2, None], ids=str)
def test_timm_creates_the_features_alone(tmp_path, section, indices):
    supernet, images = dense_supernet(section).eval(), dense_images()
    file, weights = save_dense(tmp_path, supernet, POOLED, section)
    args = {} if indices is None else {"out_indices": indices}
    net = timm.create_model(
        "tokennas_vit", arch=file, weights=weights, features_only=True, **args
    ).eval()
    assert isinstance(net, FeatureGetterNet)
    chosen = {2: [2, 3], None: [1, 2, 3]}.get(indices if indices in (2, None) else 0)
    chosen = chosen or [i % 4 for i in indices]
    subnet = extract(supernet, POOLED)
    expected = subnet.forward_intermediates(images, chosen, intermediates_only=True)
    found = net(images)
    assert len(found) == len(expected)
    for ours, other in zip(found, expected, strict=True):
        close(ours, other, 1e-6)
    assert net.feature_info.channels() == [16] * len(chosen)
    assert net.feature_info.reduction() == [[4, 6, 6, 8][i] for i in chosen]
    assert net.feature_info.module_name() == [f"blocks.{i}" for i in chosen]
    assert len(net.model.blocks) == max(chosen) + 1
    assert not [name for name, _ in net.named_parameters() if "head" in name]
    assert net.pretrained_cfg["input_size"] == (3, 16, 24)
    assert "num_classes" not in net.pretrained_cfg


@pytest.mark.parametrize("section", [None, "depth"])
def test_features_of_the_full_arch_are_those_of_timms_model(tmp_path, section):
    supernet, images = dense_supernet(section).eval(), dense_images()
    file, weights = save_dense(tmp_path, supernet, supernet.space.largest(), section)
    args = {"features_only": True, "out_indices": (0, 2)}
    ours = timm.create_model("tokennas_vit", arch=file, weights=weights, **args).eval()
    theirs = timm.create_model(MODEL, **ARGS, **args).eval()
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    theirs.load_state_dict(ours.state_dict())
    assert all(map(torch.equal, ours(images), theirs(images)))
    for name in ("channels", "reduction", "module_name"):
        assert getattr(ours.feature_info, name)() == getattr(theirs.feature_info, name)()
    assert ours.pretrained_cfg.keys() >= {"input_size", "mean", "std"}
    assert ours.in_chans == theirs.in_chans


@pytest.mark.parametrize("section", [None, "depth", "segmentation"])
def test_an_exported_folder_gives_network_and_features(tmp_path, section):
    supernet, images = dense_supernet(section).eval(), dense_images()
    file, weights = save_dense(tmp_path, supernet, POOLED, section)
    weights.rename(tmp_path / "model.safetensors")
    config = hub_config(create_subnet(file), load_arch_file(file))
    (tmp_path / "config.json").write_text(json.dumps(config))
    file.unlink()
    name = f"local-dir:{tmp_path}"
    network = timm.create_model(name, pretrained=True).eval()
    assert torch.equal(network(images), supernet(images, POOLED))
    net = timm.create_model(name, pretrained=True, features_only=True, out_indices=(1, 3)).eval()
    expected = network.forward_intermediates(images, [1, 3], intermediates_only=True)
    assert all(map(torch.equal, net(images), expected))
    # Other classes: a head of timm's, on the same backbone.
    other = timm.create_model(name, pretrained=True, num_classes=7).eval()
    assert other(images).shape == (4, 7)
    assert torch.equal(other.pos_embed, network.pos_embed)


def test_features_without_a_grid_are_refused(tmp_path):
    space = {"pool": {"kinds": ["avg1d"], "strides": [2]}}
    supernet = dense_supernet(None, space)
    file, _ = save_dense(tmp_path, supernet, Arch((OWN, OWN, pool("avg1d", 2), OWN)))
    reason = "features_only: features are maps, and a 1-D pooling leaves no grid after block 3"
    with pytest.raises(InputError, match=reason):
        timm.create_model("tokennas_vit", arch=file, features_only=True, out_indices=(1, 3))
    net = timm.create_model("tokennas_vit", arch=file, features_only=True, out_indices=(0, 1))
    assert [each.shape for each in net(dense_images())] == [(4, 16, 4, 6)] * 2


def dpt(**args):
    """The DPT of segmentation_models_pytorch over an encoder."""
    smp = pytest.importorskip("segmentation_models_pytorch")
    sizes = {"decoder_intermediate_channels": (4, 4, 8, 8), "decoder_fusion_channels": 8}
    torch.manual_seed(0)
    return smp.DPT(encoder_weights=None, classes=5, **sizes, **args).eval()


@pytest.mark.parametrize("section", [None, "depth", "depth_dpt"])
def test_the_full_arch_is_timms_encoder_in_another_librarys_dpt(tmp_path, monkeypatch, section):
    supernet = dense_supernet(section, **LARGE)
    file, weights = save_dense(tmp_path, supernet, supernet.space.largest(), section, **LARGE)
    images = torch.randn(2, 3, 64, 96)
    ours = dpt(encoder_name="tu-tokennas_vit", arch=str(file), weights=str(weights))
    # It has an argument `depth` of its own, so timm's small model is built beside it.
    plain = timm.create_model(MODEL, **{**ARGS, **LARGE})
    with monkeypatch.context() as patch:
        patch.setattr(timm, "create_model", lambda name, **_: plain)
        theirs = dpt(encoder_name=f"tu-{MODEL}")
    state, own = theirs.state_dict(), ours.state_dict()
    heads = [name for name in own if name.startswith("encoder.model.head.")]
    assert heads
    rest = {name: own[name] for name in own if name not in heads}
    assert all(rest[name].shape == state[name].shape for name in rest)
    theirs.load_state_dict(rest, strict=False)
    assert torch.equal(ours(images), theirs(images))
    assert ours(images).shape == (2, 5, 64, 96)


@pytest.mark.parametrize("section", [None, "depth"])
def test_a_pooled_arch_trains_in_another_librarys_dpt(tmp_path, section):
    """Its decoder brings all levels to their sizes by the true reductions."""
    arch = Arch((OWN, skip(0.5), pool("conv2d", (2, 3)), OWN))
    supernet = dense_supernet(section, **LARGE)
    file, _ = save_dense(tmp_path, supernet, arch, section, **LARGE)
    network = dpt(encoder_name="tu-tokennas_vit", arch=str(file)).train()
    assert network.encoder.output_strides == [16, 16, 32, 32]
    assert network.encoder.out_channels == [16] * 4
    assert network.encoder.input_size == (3, 64, 96)
    levels = []
    for block in network.decoder.reassemble_blocks:
        block.register_forward_hook(lambda _m, _i, output: levels.append(output.shape[2:]))
    network(torch.randn(2, 3, 64, 96)).sum().backward()
    assert [tuple(each) for each in levels] == [(16, 24), (8, 12), (4, 6), (2, 3)]
    encoder = network.encoder.model
    idle = {name for name, each in encoder.named_parameters() if each.grad is None}
    # What the decoder does not read: the last norm, the head, a selector's own learning.
    assert {name.split(".")[0] for name in idle} == {"norm", "head", "selectors"}


def test_encoders_are_built_from_the_toys_that_timm_makes():
    """Else the comparisons above would be of other networks."""
    assert timm.create_model(MODEL, **ARGS, num_classes=3).state_dict().keys() == (
        dense_backbone().state_dict().keys()
    )
