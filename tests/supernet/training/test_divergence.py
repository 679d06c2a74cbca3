"""Training that does not train ends with a line, and keeps what was good."""

import pytest
import torch
from training_toys import random_loader, toy_data, toy_supernet, toy_task

from space import Arch, InputError
from supernet import extract, load_weights, save_weights
from supernet.training import trainer
from supernet.training.retrain import RetrainRecipe, retrain
from supernet.training.train_supernet import SupernetRecipe, train_supernet

HINT = r"; try a lower {0}\.lr \(it is {1}\), more {0}\.warmup_epochs \(0\) or a {0}\.clip \(null\)"


def train(folder=None, net=None, **recipe):
    recipe = SupernetRecipe(**{"epochs": 3, "random_archs": 1, "watch": 0} | recipe)
    net = net or toy_supernet()
    train_supernet(net, random_loader(), task=toy_task(), recipe=recipe, folder=folder, quiet=True)
    return net


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_rate_that_is_far_too_high_ends_training_with_a_line(tmp_path, optimizer):
    message = r"supernet: training diverged in epoch 1, step \d of 3: \S+ is (nan|inf)"
    message += HINT.format("supernet", r"1e\+30")
    with pytest.raises(InputError, match=message + "$"):
        train(tmp_path, lr=1e30, optimizer=optimizer)
    assert not (tmp_path / "checkpoint.pt").exists()
    # Nothing is there that a lower rate would spoil.
    train(tmp_path, lr=1e-3, optimizer=optimizer)


def test_retraining_that_diverges_ends_too(tmp_path):
    subnet = extract(toy_supernet(), Arch.full(4))
    recipe = RetrainRecipe(epochs=2, lr=1e30)
    with pytest.raises(InputError, match=r"^retrain: training diverged in epoch 1, step"):
        retrain(subnet, random_loader(), task=toy_task(), recipe=recipe, quiet=True)


def test_the_last_good_checkpoint_is_kept(tmp_path, monkeypatch):
    class Poisoned(trainer.Trainer):
        def _train_epoch(self, advance):
            if self.position.epoch == 2:
                with torch.no_grad():
                    self.model.head.weight[0, 0] = torch.nan
            super()._train_epoch(advance)

    with monkeypatch.context() as patch:
        patch.setattr("supernet.training.train_supernet.Trainer", Poisoned)
        with pytest.raises(InputError, match=r"in epoch 3, step 1 of 3: .* is nan") as caught:
            train(tmp_path)
    assert str(caught.value).endswith(
        f"; the last good state is kept in {tmp_path / 'checkpoint.pt'}"
    )
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert state["position"]["epoch"] == 2
    assert all(value.isfinite().all() for value in state["model"].values())
    with pytest.raises(InputError, match=r"lr was 0\.001, is 0\.0005"):
        train(tmp_path, lr=5e-4)
    whole = train()
    for name, value in train(tmp_path).state_dict().items():
        assert torch.equal(value, whole.state_dict()[name])


def spoiled_after(count, monkeypatch, spoil):
    """AdamW, which after so many steps does something to its weights."""
    step, calls = torch.optim.AdamW.step, []

    def spoiling(self, closure=None):
        step(self, closure)
        calls.append(self)
        if len(calls) == count:
            with torch.no_grad():
                for weight in (each for group in self.param_groups for each in group["params"]):
                    spoil(weight)

    monkeypatch.setattr(torch.optim.AdamW, "step", spoiling)


def overflow(weight):
    weight.flatten()[0] = torch.inf


def explode(weight):
    weight.mul_(1e25)


def test_weights_that_overflow_in_a_step_are_not_stored(tmp_path, monkeypatch):
    spoiled_after(6, monkeypatch, overflow)
    with pytest.raises(InputError, match=r"in epoch 2, step 3 of 3: \S+ is not finite"):
        train(tmp_path)
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert state["position"]["epoch"] == 1


def test_nor_inside_an_epoch(tmp_path, monkeypatch):
    spoiled_after(2, monkeypatch, overflow)
    net, recipe = toy_supernet(), SupernetRecipe(epochs=1, random_archs=1, save_minutes=0.0)
    data = toy_data(net)
    with pytest.raises(InputError, match=r"in epoch 1, step 3 of 4: \S+ is not finite"):
        train_supernet(net, data.train, task=toy_task(), recipe=recipe, folder=tmp_path, quiet=True)
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert state["position"]["step"] == 1
    assert all(value.isfinite().all() for value in state["model"].values())


@pytest.mark.parametrize("what", ["supernet", "retrain"])
def test_weights_that_are_finite_and_give_nothing_finite_are_not_good(tmp_path, monkeypatch, what):
    spoiled_after(6, monkeypatch, explode)
    common = {"task": toy_task(), "folder": tmp_path, "quiet": True, "held_out": random_loader()}
    net, learn, recipe = toy_supernet(), train_supernet, SupernetRecipe(epochs=2, random_archs=1)
    if what == "retrain":
        net, learn, recipe = extract(net, Arch.full(4)), retrain, RetrainRecipe(epochs=2)
    with pytest.raises(InputError, match=r"in epoch 2, step 3 of 3: \S+ is (nan|inf)"):
        learn(net, random_loader(), recipe=recipe, **common)
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert state["position"]["epoch"] == 1
    assert all(value.abs().max() < 1e20 for value in state["model"].values())


def test_weights_on_disk_that_are_not_finite_are_refused_by_name(tmp_path):
    net, file = toy_supernet(), tmp_path / "net.safetensors"
    with torch.no_grad():
        net.blocks[1].norm1.bias[3] = torch.nan
    save_weights(net, file)
    with pytest.raises(InputError) as caught:
        load_weights(toy_supernet(), file)
    assert str(caught.value) == (
        f"{file}: blocks.1.norm1.bias is not finite: its training diverged; delete the file to "
        "train again"
    )
