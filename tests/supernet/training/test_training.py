import json
from collections import Counter

import numpy as np
import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from training_toys import (
    random_loader,
    toy_backbone,
    toy_supernet,
    toy_task,
)

from space import InputError, SearchSpace, macs
from supernet import Supernet, backbone_shape
from supernet.data.loaders import Batch
from supernet.operators.skipping import Skipping, divergence
from supernet.process_group import Processes
from supernet.training.sandwich import Sandwich, draw_archs
from supernet.training.train_supernet import (
    SupernetRecipe,
    select_watched_archs,
    train_supernet,
)


def gradients(model):
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def batch(count=8, classes=10):
    rng = torch.Generator().manual_seed(7)
    images = torch.randn(count, 3, 16, 16, generator=rng, dtype=torch.float64)
    draws = torch.arange(count) / count
    return Batch(images, torch.randint(classes, (count,), generator=rng), draws)


def random_archs(count, **values):
    return SupernetRecipe(random_archs=count, **values)


def kl(teacher, student):
    teacher, student = teacher.log_softmax(-1), student.log_softmax(-1)
    return (teacher.exp() * (teacher - student)).sum(-1).mean()


@pytest.mark.parametrize(
    ("share", "distill"), [(None, None), (0.3, None), (None, 1.0), (0.3, 0.2), (None, 0.0)]
)
def test_a_sandwich_step_has_the_gradients_of_its_parts(share, distill):
    supernet, task = toy_supernet().double().train(), toy_task()
    archs, data = draw_archs(supernet.space, 0, 0, random_archs(3)), batch()
    rng = torch.Generator().manual_seed(3)
    soft = torch.randn(8, 10, generator=rng, dtype=torch.float64)
    recipe = SupernetRecipe(teacher_share=share or 0.5, distill_share=distill)
    teacher = share and (lambda images: soft)
    Sandwich(supernet, task, recipe, teacher)(data, archs)
    found = gradients(supernet)
    supernet.zero_grad()
    logits = supernet(data.images, supernet.space.largest())
    total = task.loss(logits, data.targets)
    if share is not None:
        total = (1 - share) * total + share * kl(soft, logits)
    distill = 1.0 if distill is None else distill
    for arch in archs:
        output = supernet(data.images, arch)
        total = total + distill * kl(logits.detach(), output)
        total = total + (1 - distill) * task.loss(output, data.targets)
    (total / (1 + len(archs))).backward()
    wanted = gradients(supernet)
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, rtol=1e-9, atol=1e-12)
    assert {name for name in found if name not in wanted} == {
        name for name, _ in supernet.named_parameters() if name.startswith("selectors.")
    }


def test_selectors_learn_from_kl_to_the_true_maps_of_a_part_of_the_images():
    supernet, data = toy_supernet().double().train(), batch()
    losses = Sandwich(supernet, toy_task(), SupernetRecipe(selector_share=0.5))(data, [])
    found = {n: g for n, g in gradients(supernet).items() if n.startswith("selectors.")}
    supernet.zero_grad()
    maps = {}
    part = data.images[:4]
    supernet.forward_features(
        part,
        supernet.space.largest(),
        observe=lambda i, q, k: maps.__setitem__(i, (q * supernet.blocks[i].attn.scale) @ k.mT),
    )
    kls = [
        divergence(maps[int(i)], selector(maps[int(i) - 1]))
        for i, selector in supernet.selectors.items()
    ]
    # As a sum over the four images; the training divides by all that a step has.
    (4 * torch.stack(kls).sum()).backward()
    assert float(losses["selectors"]) == pytest.approx(torch.stack(kls).mean().item(), rel=1e-9)
    assert found
    for name, value in found.items():
        torch.testing.assert_close(value, gradients(supernet)[name], rtol=1e-9, atol=1e-12)


def test_divergence_is_torchs_kl():
    rng = torch.Generator().manual_seed(0)
    truth, guess = (torch.randn(2, 3, 5, 5, generator=rng, dtype=torch.float64) for _ in range(2))
    wanted = (
        torch.nn.functional.kl_div(guess.log_softmax(-1), truth.softmax(-1), reduction="none")
        .sum(-1)
        .mean()
    )
    torch.testing.assert_close(divergence(truth, guess.log_softmax(-1)), wanted)


def test_archs_of_a_step_are_a_function_of_seed_and_step_and_cover_the_macs():
    space = toy_supernet().space
    assert draw_archs(space, 4, 9, random_archs(3)) == draw_archs(space, 4, 9, random_archs(3))
    assert draw_archs(space, 4, 9, random_archs(3)) != draw_archs(space, 4, 10, random_archs(3))
    assert draw_archs(space, 4, 9, random_archs(3))[0] == space.smallest()
    assert all(arch in space for arch in draw_archs(space, 4, 9, random_archs(3)))


@pytest.mark.parametrize("share", [0.5, 0.7, 0.99])
def test_archs_below_the_least_share_are_not_drawn(share):
    space = toy_supernet().space
    full, recipe = macs(space.largest(), space.shape), random_archs(2, least_share=share)
    steps = 200 if share < 0.9 else 40  # few archs are so large, and each draw takes long
    drawn = [draw_archs(space, 0, step, recipe) for step in range(steps)]
    costs = np.array([[macs(arch, space.shape) / full for arch in archs] for archs in drawn])
    assert costs.min() >= share
    # The first of each step is one of the cheapest, the others reach from them to the largest.
    cheapest = min(macs(arch, space.shape) / full for archs in drawn for arch in archs)
    assert costs[:, 0].max() <= cheapest + (1 - share) / 16
    assert costs[:, 1:].max() == 1.0
    if share < 0.9:
        assert len({arch for arch, *_ in drawn}) > 1
        assert min(np.histogram(costs[:, 1:], bins=4, range=(share, 1))[0]) > 20
    # So it is with those whose metrics the log has.
    watched = select_watched_archs(space, SupernetRecipe(least_share=share, watch=3))
    assert min(macs(arch, space.shape) for arch in watched.values()) >= share * 0.97 * full
    # A share below the smallest arch's changes nothing.
    assert draw_archs(space, 0, 5, random_archs(2, least_share=0.01)) == draw_archs(
        space, 0, 5, random_archs(2)
    )


def test_every_pooling_kernel_is_drawn_as_often_as_the_others():
    backbone = VisionTransformer(
        img_size=32, patch_size=4, embed_dim=16, depth=8, num_heads=2, num_classes=10
    )
    axes = {
        "pool": {"kinds": ["avg2d", "conv2d"], "grids": [6, 4], "max_pools": 2},
        "share": {"max_run": 2},
        "skip": {"ratios": [0.25, 0.5, 0.75], "selectors": ["map", "cls"], "max_run": 1},
    }
    space = SearchSpace.from_dict(axes, backbone_shape(backbone))
    steps = 160
    drawn = [
        arch for step in range(steps) for arch in draw_archs(space, 0, step, random_archs(1))[1:]
    ]
    used = Counter(
        i
        for arch in drawn
        for i, block in enumerate(arch.blocks)
        if block.pool is not None and block.pool.learned
    )
    assert len(space.kernel_bands) == len(used) == 8
    assert min(used.values()) >= steps / 2 / 8
    # And the MACs stay covered, from the smallest to the largest.
    low, full = (macs(arch, space.shape) for arch in (space.smallest(), space.largest()))
    places = [(macs(arch, space.shape) - low) / (full - low) for arch in drawn]
    shares = np.histogram(places, bins=4, range=(0, 1))[0] / steps
    assert min(shares) > 0.1


def test_the_log_counts_the_updates_of_each_learned_module(tmp_path):
    supernet = toy_supernet()
    recipe = SupernetRecipe(epochs=4, full_epochs=1, random_archs=2)
    data = random_loader()
    train_supernet(supernet, data, task=toy_task(), recipe=recipe, folder=tmp_path, quiet=True)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert rows[0]["updates/pools.0.conv2d"] == 0
    steps = [draw_archs(supernet.space, 0, step, random_archs(2)) for step in range(3, 12)]
    assert supernet.space.kernel_bands
    for i, kind in supernet.space.kernel_bands:
        pools = [[arch.blocks[i].pool for arch in archs] for archs in steps]
        used = [any(pool and pool.kind == kind for pool in each) for each in pools]
        assert rows[-1][f"updates/pools.{i}.{kind}"] == sum(used) > 0
    assert rows[-1]["updates/selectors.1"] == 12
    assert rows[-1]["grad_norm"] > 0


def test_the_full_network_learns_alone_in_the_first_epochs():
    supernet, data = toy_supernet(), random_loader()
    kinds = []
    call = Sandwich.__call__

    def noting(self, batch, archs, scale=1.0):
        kinds.append(len(archs))
        return call(self, batch, archs, scale)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Sandwich, "__call__", noting)
        recipe = SupernetRecipe(epochs=3, full_epochs=1, random_archs=1)
        train_supernet(supernet, data, task=toy_task(), recipe=recipe, quiet=True)
    assert kinds == [0] * 3 + [2] * 6


def test_accumulated_batches_give_the_step_of_the_joined_batch():
    def weights(batches, accumulate):
        supernet = toy_supernet().double()
        recipe = SupernetRecipe(
            epochs=1,
            random_archs=1,
            accumulate=accumulate,
            selector_share=1.0,
            optimizer="sgd",
            lr=0.1,
            clip=None,
        )
        loader = random_loader(0)
        loader.batches = batches
        return train_supernet(supernet, loader, task=toy_task(), recipe=recipe, quiet=True)

    images, targets, _ = batch(8)
    halves = [(images[:4], targets[:4]), (images[4:], targets[4:])]
    joined, parts = weights([(images, targets)], 1).state_dict(), weights(halves, 2).state_dict()
    for name, value in joined.items():
        torch.testing.assert_close(parts[name], value, rtol=1e-9, atol=1e-12)


def test_training_lowers_the_loss_of_every_kind_of_arch(tmp_path):
    supernet, data = toy_supernet(), random_loader()
    recipe = SupernetRecipe(epochs=60, lr=3e-3, random_archs=1)
    train_supernet(
        supernet,
        data,
        task=toy_task(smoothing=0.0),
        recipe=recipe,
        held_out=data,
        folder=tmp_path,
        quiet=True,
    )
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert rows[-1]["loss/largest"] < 0.3 * rows[0]["loss/largest"]
    assert rows[-1]["cross_entropy/smallest"] < 0.5 * rows[0]["cross_entropy/smallest"]
    rivals = {"recall/selector", "recall/previous map", "recall/class row", "recall/chance"}
    assert rivals <= {*rows[-1]}


def test_recall_of_untrained_selectors_is_that_of_the_previous_map():
    supernet = toy_supernet().double()
    recall = Skipping().measure(supernet, [batch().images])
    assert recall["selector"] == recall["previous map"]
    assert recall["chance"] == 0.5
    assert 0 < recall["class row"] <= 1


def test_recall_leaves_out_ratios_that_drop_next_to_nothing():
    backbone = toy_backbone()
    ratios = [0.01, 0.05, 0.07, 0.5]
    axes = {"skip": {"ratios": ratios, "selectors": ["map"], "max_run": 1}}
    supernet = Supernet(backbone, SearchSpace.from_dict(axes, backbone_shape(backbone)))
    assert Skipping().measure(supernet, [batch().images.float()])["chance"] == 0.5
    axes["skip"]["ratios"] = ratios[:-1]
    supernet = Supernet(backbone, SearchSpace.from_dict(axes, backbone_shape(backbone)))
    assert Skipping().measure(supernet, [batch().images.float()]) == {}


def test_a_head_of_other_classes_is_refused():
    supernet = toy_supernet()
    supernet.reset_classifier(3)
    with pytest.raises(InputError, match="3 outputs, the data 10 classes"):
        train_supernet(supernet, random_loader(), task=toy_task(), quiet=True)


def test_gradients_of_selectors_are_divided_by_the_images_that_they_learned_from(monkeypatch):
    network, learner, idle = (torch.nn.Parameter(torch.ones(2)) for _ in range(3))
    network.grad, learner.grad = torch.full((2,), 8.0), torch.full((2,), 8.0)
    Processes().all_reduce_gradients([network, idle], [learner], torch.tensor(4))
    assert network.grad.tolist() == [8.0, 8.0]
    assert learner.grad.tolist() == [2.0, 2.0]
    assert idle.grad is None
    learner.grad = None
    Processes().all_reduce_gradients([network], [learner], torch.tensor(0))
    assert learner.grad is None
    # And the training counts the images of all batches of a step.
    counted, reduce = [], Processes.all_reduce_gradients

    def noting(self, parameters, learners, images, stop):
        counted.append(int(images))
        return reduce(self, parameters, learners, images, stop)

    monkeypatch.setattr(Processes, "all_reduce_gradients", noting)
    for share, images in ((1.0, 16), (0.0, 0)):
        recipe = SupernetRecipe(epochs=1, accumulate=2, selector_share=share, random_archs=0)
        loader = random_loader(count=2, batch=8)
        train_supernet(toy_supernet(), loader, task=toy_task(), recipe=recipe, quiet=True)
        assert counted.pop() == images
