"""Training from a user's own loader, teacher and held-out images, which stay as they were."""

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset
from training_toys import (
    TensorLoader,
    random_loader,
    same_weights,
    toy_backbone,
    toy_supernet,
    toy_task,
)

from space import SearchSpace
from space.utils.errors import InputError
from supernet import Supernet, backbone_shape, extract
from supernet.operators.skipping import SelectorLearning
from supernet.training.retrain import RetrainRecipe, retrain
from supernet.training.sandwich import Sandwich, freeze
from supernet.training.train_supernet import SupernetRecipe, train_supernet


class Killed(BaseException):
    """Stands for a kill: nothing catches it."""


def shuffled(folder):
    rng = torch.Generator().manual_seed(0)
    images = torch.randn(32, 3, 16, 16, generator=rng)
    data = TensorDataset(images, torch.randint(10, (32,), generator=rng))
    recipe = SupernetRecipe(epochs=3, random_archs=1, watch=0)
    loader = DataLoader(data, batch_size=8, shuffle=True)
    return train_supernet(
        toy_supernet(), loader, task=toy_task(), recipe=recipe, folder=folder, seed=1, quiet=True
    )


def test_a_shuffling_loader_goes_on_at_an_epochs_end_as_if_uninterrupted(tmp_path, monkeypatch):
    torch.manual_seed(11)
    whole = shuffled(tmp_path / "whole")
    call, calls = Sandwich.__call__, []

    def stopping(self, *args):
        calls.append(None)
        if len(calls) > 4:
            raise Killed
        return call(self, *args)

    torch.manual_seed(11)
    with monkeypatch.context() as patch:
        patch.setattr(Sandwich, "__call__", stopping)
        with pytest.raises(Killed):
            shuffled(tmp_path / "cut")
    torch.manual_seed(22)
    assert same_weights(whole, shuffled(tmp_path / "cut"))


def train(loader=None, task=None, **args):
    recipe = SupernetRecipe(epochs=1, random_archs=0, watch=0)
    return train_supernet(
        toy_supernet(),
        loader or random_loader(),
        task=task or toy_task(),
        recipe=recipe,
        quiet=True,
        **args,
    )


def test_mixing_leaves_a_users_images_as_they_were():
    loader = random_loader(count=2)
    before = [images.clone() for images, _ in loader.batches]
    train(loader, toy_task(mixup=0.8))
    assert all(torch.equal(a, b) for a, (b, _) in zip(before, loader.batches, strict=True))


class Short(TensorLoader):
    def __len__(self):
        return 5


DICTS = TensorLoader(
    [{"image": images, "label": targets} for images, targets in random_loader().batches]
)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"loader": Short(random_loader().batches)}, "train: the loader gave 3 batches.* says 5"),
        ({"loader": random_loader(batch=7), "task": toy_task(mixup=0.5)}, "even batch, got 7"),
        ({"held_out": []}, "held_out: must have images to evaluate on, got none"),
        (
            {"loader": DICTS},
            r"^train: a batch must be \(images, targets\), .*, got a dict of image, label$",
        ),
        (
            {"held_out": DICTS.batches},
            r"^held_out: a batch must be .*, got a dict of image, label$",
        ),
        ({"seed": 1 << 64}, r"^seed: must be an integer of 0 to 2\^64 - 1, got 184467440737095516"),
        ({"seed": -1}, r"^seed: must be an integer of 0 to 2\^64 - 1, got -1"),
    ],
)
def test_what_cannot_be_trained_on_is_refused(args, message):
    with pytest.raises(InputError, match=message):
        train(**args)


def test_nothing_is_written_where_there_is_nothing_to_judge_on(tmp_path):
    with pytest.raises(InputError, match="held_out"):
        train(held_out=[], folder=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_supernet_as_teacher_is_refused_before_anything_is_written(tmp_path):
    supernet, images = toy_supernet(), torch.zeros(1, 3, 16, 16)
    subnet = extract(supernet, supernet.space.smallest())
    with pytest.raises(InputError, match=r"^teacher: is a supernet, which needs an arch"):
        train(teacher=supernet, folder=tmp_path / "run")
    with pytest.raises(InputError, match=r"^teacher: is a supernet, which needs an arch"):
        retrain(subnet, [], task=toy_task(), teacher=supernet, folder=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    supernet.set_arch(supernet.shape, supernet.space.largest())
    assert torch.equal(freeze(supernet)(images), supernet.eval()(images))


def test_a_teacher_keeps_its_mode_and_stays_trainable():
    teacher = toy_backbone().train()
    freeze(teacher)(torch.zeros(1, 3, 16, 16))
    train(teacher=teacher)
    supernet = toy_supernet()
    subnet = extract(supernet, supernet.space.smallest())
    recipe = RetrainRecipe(epochs=1)
    retrain(subnet, random_loader(), task=toy_task(), recipe=recipe, teacher=teacher, quiet=True)
    assert all(module.training for module in teacher.modules())
    assert all(parameter.requires_grad for parameter in teacher.parameters())


def test_a_supernet_learns_from_its_own_backbone():
    backbone = toy_backbone()
    space = SearchSpace.from_dict({"share": {"max_run": 1}}, backbone_shape(backbone))
    supernet = Supernet(backbone, space)
    before = supernet.head.weight.detach().clone()
    recipe = SupernetRecipe(epochs=1, watch=0)
    train_supernet(
        supernet, random_loader(), task=toy_task(), recipe=recipe, teacher=backbone, quiet=True
    )
    assert not torch.equal(supernet.head.weight, before)


def test_a_supernet_of_which_only_the_head_learns_trains():
    supernet = toy_supernet().requires_grad_(False)
    supernet.head.requires_grad_(True)
    before = {name: value.clone() for name, value in supernet.state_dict().items()}
    recipe = SupernetRecipe(epochs=1, random_archs=0, watch=0, selector_share=1.0)
    train_supernet(supernet, random_loader(), task=toy_task(), recipe=recipe, quiet=True)
    after = supernet.state_dict()
    assert {name for name in before if not torch.equal(before[name], after[name])} == {
        "head.weight",
        "head.bias",
    }


@pytest.mark.parametrize("accumulate", [1, 3])
def test_the_loss_of_selectors_is_the_mean_over_steps_that_have_one(
    tmp_path, monkeypatch, accumulate
):
    seen, call = [], Sandwich.__call__

    def noting(self, *args):
        losses = call(self, *args)
        seen.append(losses.get("selectors"))
        return losses

    monkeypatch.setattr(Sandwich, "__call__", noting)
    rows = []
    monkeypatch.setattr("supernet.training.log.TrainingLog.add", lambda self, row: rows.append(row))
    recipe = SupernetRecipe(
        epochs=1, random_archs=0, watch=0, accumulate=accumulate, selector_share=0.2
    )
    loader = random_loader(count=12, batch=4)
    train_supernet(toy_supernet(), loader, task=toy_task(), recipe=recipe, seed=2, quiet=True)
    steps = [seen[i : i + accumulate] for i in range(0, 12, accumulate)]
    with_rows = [[float(loss) for loss in step if loss is not None] for step in steps]
    assert None in seen
    means = [sum(step) / len(step) for step in with_rows if step]
    assert rows[0]["loss/selectors"] == pytest.approx(sum(means) / len(means))


def test_selectors_that_are_frozen_are_watched_and_not_taught():
    supernet = toy_supernet().requires_grad_(False)
    learning = SelectorLearning(supernet, torch.ones(2, dtype=torch.bool))
    supernet.forward_features(torch.zeros(2, 3, 16, 16), supernet.space.largest(), observe=learning)
    assert len(learning.losses) == len(supernet.selectors)
