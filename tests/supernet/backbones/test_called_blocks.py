"""Blocks are modules that are called: hooks, adapters, sharding and quantisation work on them."""

import copy
import socket

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from supernet_toys import (
    OWN,
    SHARED,
    build_supernet,
    close,
    first,
    images_for,
    pool,
    skip,
    some_archs,
    supernet_of,
)
from torch import distributed, nn
from torch.distributed.fsdp import fully_shard

from supernet import extract
from supernet.backbones.blocks import ElasticBlock

MIXED = first(OWN, SHARED, pool("conv2d", (3, 3)), skip(), skip(shared=True))


def calls_of(net, run):
    """How often hooks on each block and on its attention fire."""
    counts = {}

    def count(name):
        return lambda *_: counts.update({name: counts.get(name, 0) + 1})

    handles = []
    for i, block in enumerate(net.blocks):
        handles.append(block.register_forward_hook(count(f"block {i}")))
        handles.append(block.register_forward_pre_hook(count(f"before block {i}")))
        handles.append(block.attn.register_forward_hook(count(f"attention {i}")))
    run()
    for handle in handles:
        handle.remove()
    return counts


@pytest.mark.parametrize("name", ["class token", "distilled", "gated"])
def test_forward_hooks_fire_once_for_each_block_of_every_arch(name):
    net = supernet_of(name)
    images = images_for(net)
    for arch in some_archs(net.space, 12):
        for model, args in ((net, (images, arch)), (extract(net, arch), (images,))):
            counts = calls_of(model, lambda model=model, args=args: model(*args))
            assert len(counts) == 3 * net.shape.depth
            assert set(counts.values()) == {1}


def test_what_a_hook_returns_goes_on():
    net, images = supernet_of("class token"), images_for(supernet_of("class token"))
    before = net(images, MIXED)
    handle = net.blocks[2].register_forward_hook(lambda module, args, output: 2 * output)
    doubled = net(images, MIXED)
    handle.remove()
    assert not torch.allclose(before, doubled)
    assert torch.equal(net(images, MIXED), before)


def test_hooks_of_the_supernet_are_not_those_of_the_backbone():
    backbone = build_supernet("class token")
    twin = extract(backbone, backbone.space.largest(), share=True)
    counts = calls_of(twin, lambda: backbone(images_for(backbone), backbone.space.largest()))
    assert counts == {}
    assert twin.blocks[0].attn.qkv.weight is backbone.blocks[0].attn.qkv.weight


def adapted(model, seed=0):
    """The model with a LoRA adapter of random weights in the place of each `attn.qkv`."""
    config = LoraConfig(r=2, lora_alpha=2, target_modules=["qkv"], init_lora_weights=False)
    torch.manual_seed(seed)
    return inject_adapter_in_model(config, copy.deepcopy(model)).eval()


@pytest.mark.parametrize("arch", [first(), MIXED, first(OWN, SHARED, SHARED)])
def test_adapters_are_used_and_learn_in_every_block(arch):
    net = build_supernet("class token")
    images, tuned = images_for(net), adapted(net)
    found = tuned(images, arch)
    assert not torch.allclose(found, net(images, arch))
    found.square().sum().backward()
    for block in tuned.blocks:
        for name, parameter in block.attn.qkv.named_parameters():
            if "lora" in name:
                assert parameter.grad.abs().sum() > 0
            else:
                assert parameter.grad is None
    # An adapter is what it adds to the weights: merged into them, the network is the same.
    merged = copy.deepcopy(net)
    with torch.no_grad():
        for plain, block in zip(merged.blocks, tuned.blocks, strict=True):
            lora = block.attn.qkv
            plain.attn.qkv.weight += lora.get_delta_weight("default")
    close(merged(images, arch), found)


def test_a_subnet_of_an_adapted_supernet_keeps_its_adapters():
    tuned = adapted(build_supernet("class token"))
    images = images_for(tuned)
    for arch in (first(), MIXED):
        subnet = extract(tuned, arch)
        close(subnet(images), tuned(images, arch))


def test_adapters_on_a_subnet_act_on_the_values_of_shared_blocks():
    subnet = extract(build_supernet("class token"), MIXED)
    images, tuned = images_for(subnet), adapted(subnet)
    tuned(images).square().sum().backward()
    assert tuned.blocks[1].attn.qkv.lora_B["default"].weight.shape[0] == 32
    assert tuned.blocks[1].attn.qkv.lora_B["default"].weight.grad.abs().sum() > 0


@pytest.mark.filterwarnings("ignore:torch.ao.quantization is deprecated")
@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
@pytest.mark.parametrize("selector", [None, "map", "cls", "random"])
def test_dynamic_quantisation_of_linear_layers_runs(selector):
    run = [] if selector is None else [skip(selector=selector), skip(shared=True)]
    arch = first(OWN, SHARED, pool("conv2d", (3, 3)), *run)
    subnet = extract(build_supernet("class token", torch.float32), arch).eval()
    quantised = torch.ao.quantization.quantize_dynamic(subnet, {nn.Linear}, dtype=torch.qint8)
    assert not any(type(module) is nn.Linear for module in quantised.modules())
    images = images_for(subnet, dtype=torch.float32)
    logits = quantised(images)
    assert logits.isfinite().all()
    if selector is None:
        # Where tokens are chosen, rounded weights may choose others.
        close(logits, subnet(images), 0.2)


@pytest.fixture
def one_process():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    distributed.init_process_group(
        "gloo", init_method=f"tcp://127.0.0.1:{port}", rank=0, world_size=1
    )
    yield
    distributed.destroy_process_group()


def test_sharded_blocks_train_as_whole_ones(one_process):
    plain = build_supernet("class token", torch.float32).train()
    sharded = copy.deepcopy(plain)
    mesh = distributed.init_device_mesh("cpu", (1,))
    for block in sharded.blocks:
        fully_shard(block, mesh=mesh)
    images = images_for(plain, dtype=torch.float32)
    steps = {}
    for name, net in (("plain", plain), ("sharded", sharded)):
        optimizer = torch.optim.SGD(net.parameters(), lr=1e-3)
        losses = []
        for arch in (first(), MIXED, first(OWN, SHARED, SHARED, OWN, skip())):
            loss = net(images, arch).square().mean()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
        steps[name] = losses
    assert steps["plain"] == pytest.approx(steps["sharded"], rel=1e-5)
    for one, other in zip(plain.parameters(), sharded.parameters(), strict=True):
        whole = other.full_tensor() if hasattr(other, "full_tensor") else other
        close(whole, one, 1e-5)


def test_a_block_of_a_class_of_its_own_keeps_it():
    """FSDP2 changes a module's class to a subclass."""

    class Own(ElasticBlock):
        pass

    net = build_supernet("class token", torch.float32)
    net.blocks[1].__class__ = Own
    subnet = extract(net, first(pool("avg2d", (3, 3))))
    assert [type(block) for block in subnet.blocks[:3]] == [ElasticBlock, Own, ElasticBlock]
