"""Subnets from files: `create_subnet`, timm's `create_model`, and what timm asks of a model."""

import json
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from supernet_toys import (
    ARGS,
    INPUT,
    NAMED,
    drawn,
    export,
    hand_made,
    images_for,
    named_supernet,
)
from timm.data import resolve_model_data_config
from timm.optim import create_optimizer_v2
from torch import nn

from space import Arch, InputError, load_arch_file, save_arch
from supernet import ElasticViT, create_subnet, extract
from supernet.export import hub_config

DISTILLED = "deit_tiny_distilled_patch16_224"


def an_arch(place=3):
    return hand_made(named_supernet().shape)[place]


def images(net, count=2):
    return images_for(net, count, dtype=torch.float32)


@pytest.mark.parametrize("model", [NAMED, DISTILLED])
def test_file_and_weights_give_the_subnet(tmp_path, model):
    net = named_supernet(model)
    for arch in [*hand_made(net.shape)[::2], *drawn(net.space, 2)]:
        file, weights, subnet = export(tmp_path, arch, model)
        found = create_subnet(file, weights).eval()
        assert type(found) is type(subnet)
        assert found.arch == subnet.arch
        found.load_state_dict(subnet.state_dict(), strict=True)
        assert torch.equal(found(images(net)), subnet(images(net)))
        again = create_subnet(load_arch_file(file), weights).eval()
        assert torch.equal(again(images(net)), subnet(images(net)))


SCRIPT = """
import sys
import numpy as np, torch
from supernet import create_subnet
torch.set_num_threads(1)
file, weights, images, logits = sys.argv[1:]
subnet = create_subnet(file, weights).eval()
np.save(logits, subnet(torch.from_numpy(np.load(images))).detach().numpy())
"""


def test_a_fresh_process_gives_the_same_logits(tmp_path):
    file, weights, subnet = export(tmp_path, an_arch())
    np.save(tmp_path / "images.npy", images(subnet).numpy())
    paths = [file, weights, tmp_path / "images.npy", tmp_path / "logits.npy"]
    root = Path(__file__).parents[3]
    subprocess.run([sys.executable, "-c", SCRIPT, *map(str, paths)], check=True, cwd=root)
    assert np.array_equal(np.load(tmp_path / "logits.npy"), subnet(images(subnet)).detach().numpy())


def test_timm_creates_it(tmp_path):
    file, weights, subnet = export(tmp_path, an_arch())
    found = timm.create_model("tokennas_vit", arch=file, checkpoint_path=str(weights)).eval()
    assert isinstance(found, ElasticViT)
    assert torch.equal(found(images(subnet)), subnet(images(subnet)))
    assert "tokennas_vit" in timm.list_models()
    other = timm.create_model("tokennas_vit", arch=str(file), num_classes=3, drop_path_rate=0.1)
    assert other(images(subnet)).shape == (2, 3)
    assert other.blocks[-1].drop_path1.drop_prob == pytest.approx(0.1)


@pytest.mark.slow
@pytest.mark.parametrize(
    "code", ["import timm, supernet", "from supernet import retrain; import timm"]
)
def test_timm_is_told_of_it(code):
    look = f"{code}; print(timm.is_model('tokennas_vit'))"
    found = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert found.stdout == "True\n"


@pytest.mark.parametrize("model", [NAMED, DISTILLED])
@pytest.mark.parametrize("place", ["local-dir:", "hf-hub:user/name"])
def test_timm_creates_what_an_exported_folder_names(tmp_path, monkeypatch, model, place):
    file, weights, subnet = export(tmp_path, an_arch(), model, classes=list("abcdefg"))
    (tmp_path / "model.safetensors").write_bytes(weights.read_bytes())
    config = hub_config(create_subnet(file), load_arch_file(file))
    (tmp_path / "config.json").write_text(json.dumps(config))
    # Whoever loads it has neither the arch file nor our way to load weights.
    file.unlink()
    weights.unlink()
    # The Hub gives one file after the other.
    given = lambda repo_id, filename, **_: str(tmp_path / filename)  # noqa: E731
    monkeypatch.setattr(timm.models._hub, "hf_hub_download", given)
    name = f"{place}{tmp_path}" if place == "local-dir:" else place
    found = timm.create_model(name, pretrained=True).eval()
    assert isinstance(found, ElasticViT)
    assert torch.equal(found(images(subnet)), subnet(images(subnet)))
    look = resolve_model_data_config(found)
    assert (tuple(look["mean"]), look["crop_pct"]) == (tuple(INPUT["mean"]), 0.8)
    assert found.pretrained_cfg["label_names"] == list("abcdefg")
    other = timm.create_model(name, pretrained=True, num_classes=3).eval()
    assert other(images(subnet)).shape == (2, 3)
    assert torch.equal(other.pos_embed, found.pos_embed)
    empty = timm.create_model(name)
    assert not torch.equal(empty.pos_embed, found.pos_embed)


def test_a_folder_keeps_the_classes_for_tasks_that_read_them(tmp_path):
    path, _, _ = export(tmp_path, an_arch(), classes=list("abcdefg"))
    file = load_arch_file(path)
    for task, kept in (({}, []), ({"name": "own"}, list("abcdefg"))):
        config = hub_config(create_subnet(path), replace(file, task=task))
        assert config["model_args"]["arch"].get("classes", []) == kept
        assert config["label_names"] == list("abcdefg")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"arch": {"schema": "tokennas/arch/2"}}, "model_args.arch:1: schema: must be"),
        ({"arch": 5}, "tokennas_vit needs arch=FILE"),
        ({}, "tokennas_vit needs arch=FILE"),
    ],
)
def test_a_folder_that_names_no_arch_is_refused(tmp_path, change, reason):
    file, _, _ = export(tmp_path, an_arch())
    config = hub_config(create_subnet(file), load_arch_file(file)) | {"model_args": change}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=reason):
        timm.create_model(f"local-dir:{tmp_path}")


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        ({"pretrained": True}, "tokennas_vit has no pretrained weights; give checkpoint_path"),
        ({"arch": None}, "tokennas_vit needs arch=FILE"),
        ({"pretrained_cfg": {"file": "x"}}, "backbone args: 'pretrained_cfg' is not allowed"),
        ({"in_chans": 1}, "the backbone is not the one of .*arch.yaml: stem"),
        ({"size": 3}, "timm cannot build .*unexpected keyword argument 'size'"),
    ],
)
def test_what_timm_cannot_create_is_refused(tmp_path, args, reason):
    file, _, _ = export(tmp_path, an_arch())
    with pytest.raises(InputError, match=reason) as error:
        timm.create_model("tokennas_vit", **{"arch": file, **args})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("backbone", "reason"),
    [
        ({}, "arch.yaml: backbone: missing 'model'"),
        ({"args": {}}, "arch.yaml: backbone: missing 'model'"),
        ({"model": NAMED, "arguments": {}}, "arch.yaml: backbone.arguments: unknown key; did"),
        ({"model": NAMED, "args": [1]}, r"arch.yaml: backbone.args: must be a mapping, got \[1\]"),
        ({"model": [NAMED]}, "timm has no model"),
        ({"model": NAMED, "args": {**ARGS, "depth": 5}}, "not the one of .*: depth 5 instead of 6"),
        ({"model": NAMED, "args": {**ARGS, "num_heads": 2}}, "not the one of .*: heads 2 instead"),
        ({"model": NAMED, "args": {**ARGS, "pretrained": True}}, "args: 'pretrained' is not allow"),
        ({"model": "tokennas_vit", "args": {"arch": "arch.yaml"}}, "args: 'arch' is not allowed"),
    ],
)
def test_arch_files_that_name_no_backbone_of_their_shape(tmp_path, backbone, reason):
    file, _, _ = export(tmp_path, an_arch(), backbone=backbone)
    with pytest.raises(InputError, match=reason) as error:
        create_subnet(file)
    assert "\n" not in str(error.value)


def test_an_arch_of_another_depth_never_reaches_a_file(tmp_path):
    shape = named_supernet().shape
    with pytest.raises(InputError, match="the arch has 5 blocks, the backbone 6"):
        save_arch(Arch.full(5), tmp_path / "arch.yaml", shape=shape)
    assert not list(tmp_path.iterdir())


def test_its_input_is_that_of_the_file(tmp_path):
    file, _, _ = export(tmp_path, an_arch())
    subnet = create_subnet(file)
    config = resolve_model_data_config(subnet)
    assert config["input_size"] == tuple(INPUT["size"])
    assert (config["mean"], config["std"]) == (tuple(INPUT["mean"]), tuple(INPUT["std"]))
    assert (config["crop_pct"], config["interpolation"]) == (0.8, "bilinear")
    assert config["crop_mode"] == "squash"
    assert subnet.pretrained_cfg is subnet.default_cfg
    assert timm.create_model(NAMED, **ARGS).default_cfg["crop_pct"] == 0.9


@pytest.mark.parametrize("model", [NAMED, DISTILLED])
def test_the_head_is_reset_as_timm_does(model):
    net = named_supernet(model)
    subnet = extract(net, an_arch())
    heads = subnet.get_classifier() if model == DISTILLED else (subnet.get_classifier(),)
    assert [head.out_features for head in heads] == [7] * len(heads)
    subnet.reset_classifier(3)
    assert subnet(images(net)).shape == (2, 3)
    assert subnet.num_classes == 3
    subnet.reset_classifier(0)
    assert subnet(images(net)).shape == (2, subnet.num_features)
    if model == NAMED:
        subnet.reset_classifier(5, "avg")
        tokens = subnet.forward_features(images(net))
        assert torch.equal(subnet(images(net)), subnet.head(tokens[:, 1:].mean(1)))


def test_no_decay_and_layer_decay_reach_the_right_parameters():
    subnet = extract(named_supernet(), an_arch(0))
    optimizer = create_optimizer_v2(subnet, "adamw", lr=1.0, weight_decay=0.1, layer_decay=0.5)
    groups = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    found = {name: groups[id(p)] for name, p in subnet.named_parameters()}
    assert len(found) == len(groups)
    for name, group in found.items():
        plain = name in ("pos_embed", "cls_token") or name.endswith(".bias") or "norm" in name
        assert group["weight_decay"] == (0.0 if plain else 0.1), name
    scales = [found[f"blocks.{i}.mlp.fc1.weight"]["lr_scale"] for i in range(6)]
    assert all(b == 2 * a for a, b in pairwise(scales))
    assert found["pos_embed"]["lr_scale"] < scales[0]
    assert found["head.weight"]["lr_scale"] == 1


def test_gradient_checkpointing_is_switched_as_in_timm():
    subnet = extract(named_supernet(), an_arch(0)).train()
    found = []
    for enable in (False, True):
        subnet.set_grad_checkpointing(enable)
        assert subnet.grad_checkpointing is enable
        subnet.zero_grad()
        subnet(images(subnet)).sum().backward()
        found.append(subnet.blocks[1].attn.qkv.weight.grad.clone())
    torch.testing.assert_close(found[0], found[1])


def test_numbers_that_timm_reads():
    subnet = extract(named_supernet(), an_arch(0))
    assert (subnet.num_features, subnet.embed_dim, subnet.head_hidden_size) == (32, 32, 32)
    assert isinstance(subnet, nn.Module)
    assert [info["num_chs"] for info in subnet.feature_info] == [32] * 6
