"""Networks with dense heads: whichever way an arch is run, it gives the same map."""

import copy
import pickle

import pytest
import torch
from dense_toys import (
    SECTIONS,
    dense_images,
    dense_supernet,
    dense_task,
    depth_maps,
    label_maps,
    save_dense,
)
from supernet_toys import OWN, close, counted, drawn, numel, pool, skip
from timm.optim import create_optimizer_v2

from space import Arch, BlockArch, InputError, load_arch_file, macs, params, save_arch
from supernet import create_subnet, extract
from supernet.models.activation_cache import storages
from supernet.models.prefixes import PrefixEvaluator

PLENTY = 1 << 30
# Runs over blocks that the head reads, to their end and to the last block; shared maps inside.
HAND_MADE = [
    Arch((OWN, skip(0.5), skip(0.5), OWN)),
    Arch((OWN, skip(0.25), skip(0.25, shared=True), OWN)),
    Arch((OWN, OWN, skip(0.5, "cls"), skip(0.5, "cls"))),
    Arch((pool("avg2d", (3, 4)), skip(0.5), pool("avg2d", (2, 3)), skip(0.25))),
    Arch((OWN, BlockArch(attention="shared"), pool("avg2d", (2, 3)), OWN)),
]


def archs_of(supernet, count, seed=0):
    return [*HAND_MADE, *drawn(supernet.space, count, seed)]


def targets_of(section):
    return label_maps() if section == "segmentation" else depth_maps()


@pytest.fixture(params=SECTIONS)
def section(request):
    return request.param


def test_a_subnet_computes_what_the_supernet_does(section, tmp_path):
    supernet, images = dense_supernet(section).eval(), dense_images()
    double, precise = copy.deepcopy(supernet).double(), images.double()
    for arch in archs_of(supernet, 4):
        close(extract(double, arch)(precise), double(precise, arch))
        subnet, output = extract(supernet, arch), supernet(images, arch)
        assert torch.equal(subnet(images), output)
        again, chosen = subnet.forward_with_choices(images)
        assert torch.equal(again, output)
        assert len(chosen) == subnet.runs
        built = create_subnet(*save_dense(tmp_path, supernet, arch, section)).eval()
        assert dense_task(section).fits(built)
        assert built.arch == subnet.arch
        assert torch.equal(built(images), output)


@torch.inference_mode()
def test_shared_prefixes_give_the_same_map_bit_for_bit(section):
    supernet = dense_supernet(section).eval()
    batches = [dense_images(2), dense_images(3, seed=1)]
    archs, evaluator = archs_of(supernet, 10), PrefixEvaluator(supernet, PLENTY)
    for group in (archs[::2], archs[1::2], archs):
        for arch in evaluator.expect(group):
            network = evaluator.network(arch)
            for images in batches:
                assert torch.equal(network(images), supernet(images, arch))
    flows = [each for prefix in evaluator._prefixes.values() for each in prefix.flows.values()]
    held = {key: size for each in flows for key, size in storages(each.flow).items()}
    assert evaluator.cache.bytes == sum(held.values()) > 0


@torch.inference_mode()
def test_features_kept_in_several_prefixes_are_counted_once():
    supernet, images = dense_supernet("depth").eval(), dense_images(2)
    evaluator = PrefixEvaluator(supernet, PLENTY)
    evaluator.network(supernet.space.largest())(images)
    tokens = 2 * (24 + 1) * 16 * 4
    # The tokens before each of the four blocks; the features of block 1 after it and after 2.
    assert evaluator.cache.bytes == 4 * tokens + tokens
    path = evaluator._path(supernet.space.largest())
    assert [len(each.flows[images].flow.features) for each in path] == [0, 0, 1, 1]
    run = Arch((OWN, skip(0.5), skip(0.5), OWN))
    evaluator.network(run)(images)
    inside = 2 * (12 + 1) * 16 * 4
    path = [each.flows[images].flow for each in evaluator._path(run)]
    # The tokens beside the run are those after block 0, where a selector reads once more.
    assert path[2].restores[0].x is path[1].x
    assert path[3].features[0] is path[2].features[0]
    assert path[2].x.untyped_storage().nbytes() == inside
    added = evaluator.cache.bytes - 5 * tokens
    assert 0 <= added - (3 * tokens + inside) < tokens  # importances and indices


@pytest.mark.parametrize("most", [0, 20_000, 60_000])
@torch.inference_mode()
def test_no_more_is_kept_than_fits_and_nothing_else_changes(most):
    supernet = dense_supernet("depth").eval()
    batches = [dense_images(2), dense_images(3, seed=1)]
    evaluator = PrefixEvaluator(supernet, most)
    for arch in evaluator.expect(archs_of(supernet, 20)):
        network = evaluator.network(arch)
        for images in batches:
            assert torch.equal(network(images), supernet(images, arch))
            assert evaluator.cache.bytes <= most


def test_gradients_are_those_of_the_supernet_and_of_recomputed_activations(section):
    task, images = dense_task(section), dense_images().double()
    supernet = dense_supernet(section).double().train()
    for module in supernet.head.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    for arch in archs_of(supernet, 0):
        gradients = []
        for model, args in ((supernet, (arch,)), (extract(supernet, arch), ())):
            for recomputed in (False, True):
                net = copy.deepcopy(model)
                net.set_grad_checkpointing(recomputed)
                task.loss(net(images, *args), targets_of(section)).backward()
                grads = {n: p.grad for n, p in net.named_parameters() if p.grad is not None}
                gradients.append(grads)
        for name, grad in gradients[2].items():
            for other in gradients:
                rows = other[name][-len(grad) :]  # a shared block has value rows alone
                torch.testing.assert_close(rows, grad, rtol=1e-9, atol=1e-12)


def test_a_subnet_is_copied_and_pickled(section):
    supernet, images = dense_supernet(section).eval(), dense_images()
    arch = archs_of(supernet, 0)[0]
    for model, args in ((supernet, (arch,)), (extract(supernet, arch), ())):
        for again in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            assert torch.equal(again(images, *args), model(images, *args))
            assert dense_task(section).fits(again)


def costs(subnet):
    assert macs(subnet.arch, subnet.shape) == counted(subnet)
    assert params(subnet.arch, subnet.shape) == numel(subnet)


def test_another_head_replaces_the_dense_one(section):
    supernet, images = dense_supernet(section).eval(), dense_images()
    for arch in archs_of(supernet, 0)[::2]:
        subnet = extract(supernet, arch)
        tokens = subnet.forward_features(images)
        subnet.reset_classifier(3)
        assert torch.equal(subnet(images), subnet.head(tokens[:, 0]))
        costs(subnet)
        dense_task("segmentation").reset_head(subnet, 0)
        assert subnet(images).shape == (4, 5, 16, 24)
        costs(subnet)
        assert dense_task("segmentation").fits(subnet)


def test_a_dense_subnet_is_pruned_to_its_features(section):
    supernet, images = dense_supernet(section).eval(), dense_images()
    for arch in archs_of(supernet, 0)[::2]:
        for last in (0, 2):
            subnet = extract(supernet, arch)
            expected = subnet.forward_intermediates(images, [last], intermediates_only=True)
            subnet.prune_intermediate_layers([last])
            found = subnet.forward_intermediates(images, [last], intermediates_only=True)
            close(found[0], expected[0], 1e-6)
            assert subnet(images).shape[-1] == 16
            costs(subnet)
        subnet = extract(supernet, arch)
        subnet.prune_intermediate_layers([0, 3], prune_head=False)
        assert torch.equal(subnet(images), supernet(images, arch))
        with pytest.raises(InputError, match=r"cannot stay with blocks 0 to 2 alone; give prune_h"):
            subnet.prune_intermediate_layers([2], prune_head=False)
        assert torch.equal(subnet(images), supernet(images, arch))


def test_a_dense_head_reads_more_than_the_last_tokens():
    supernet, images = dense_supernet("depth").eval(), dense_images()
    subnet = extract(supernet, supernet.space.largest())
    tokens = subnet.forward_features(images)
    with pytest.raises(InputError, match=r"^forward_head: the head reads the tokens of several"):
        subnet.forward_head(tokens)
    assert torch.equal(subnet.forward_head(tokens, pre_logits=True), tokens[:, 0])
    assert subnet.get_classifier() is subnet.head


SEQUENCE = {"pool": {"kinds": ["avg1d", "avg2d"], "strides": [2], "grids": [[2, 3]]}}


def test_an_arch_whose_tokens_have_no_places_is_refused_by_the_model(tmp_path):
    with pytest.raises(InputError, match=r"^the head reads a token grid, which archs with 1-D"):
        dense_supernet("depth", SEQUENCE)
    # Nor does a supernet get such a head later.
    supernet = dense_supernet(None, SEQUENCE)
    with pytest.raises(InputError, match=r"^the head reads a token grid, .* Rules\(keep_2d=True\)"):
        dense_task("depth").reset_head(supernet, 0)
    supernet = dense_supernet("depth").eval()
    file, _ = save_dense(tmp_path, supernet, supernet.space.largest(), "depth")
    with pytest.raises(InputError, match=r"arch.yaml: the head reads the token grid after block 1"):
        create_subnet(_with_arch(file, Arch((pool("avg1d", 2), OWN, OWN, OWN)), tmp_path))


def _with_arch(file, arch, folder):
    """The same arch file with another arch."""
    old = load_arch_file(file)
    path = folder / "other" / "arch.yaml"
    path.parent.mkdir()
    values = {"backbone": old.backbone, "input": old.input, "task": old.task}
    save_arch(arch, path, shape=old.shape, **values)
    return path


def test_layer_decay_and_weight_decay_reach_the_head():
    supernet = dense_supernet("depth")
    subnet = extract(supernet, supernet.space.largest())
    optimizer = create_optimizer_v2(subnet, "adamw", lr=1.0, weight_decay=0.1, layer_decay=0.5)
    groups = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    found = {name: groups[id(each)] for name, each in subnet.head.named_parameters()}
    assert {name: group["weight_decay"] for name, group in found.items()} == {
        "norm.weight": 0,
        "norm.bias": 0,
        "linear.weight": 0.1,
        "linear.bias": 0,
    }
    assert {group["lr_scale"] for group in found.values()} == {1}


def test_maps_and_losses_are_single_precision_under_autocast(section):
    task, images, targets = dense_task(section), dense_images(), targets_of(section)
    supernet = dense_supernet(section).train()
    for arch in HAND_MADE[:2]:
        with torch.autocast("cpu", torch.bfloat16):
            output = supernet(images, arch)
            loss = task.loss(output, targets)
        loss.backward()
        assert loss.dtype == torch.float32
        assert output.dtype == (torch.bfloat16 if section == "segmentation" else torch.float32)
        for name, values in task.statistics(output.detach(), targets).items():
            assert values.dtype in (torch.float32, torch.int64), name
            assert values.isfinite().all()
    assert all(p.grad.isfinite().all() for p in supernet.head.parameters())
