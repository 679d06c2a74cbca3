"""Training under bfloat16 autocast on a CPU. Any CPU can, though most are slow at it."""

from functools import partial
from typing import NamedTuple

import pytest
import torch
from training_toys import random_loader, same_weights, toy_data, toy_supernet, toy_task

from space import InputError
from supernet import extract
from supernet.data.loaders import Batch
from supernet.training import resume
from supernet.training.checkpoint import load_checkpoint, save_checkpoint
from supernet.training.recipe import RetrainRecipe, SupernetRecipe
from supernet.training.retrain import retrain
from supernet.training.sandwich import Sandwich
from supernet.training.train_supernet import train_supernet

VALUES = {"epochs": 2, "ema": 0.9, "random_archs": 1, "save_minutes": 0.0, "watch": 1}


class Killed(BaseException):
    """Stands for a kill: nothing catches it."""


def run(folder, amp, *, stop_at=None, monkeypatch=None, quiet=True, **values):
    supernet = toy_supernet(drop_path_rate=0.2)
    data = toy_data(supernet)
    recipe = SupernetRecipe(**VALUES, **values, amp=amp)
    words = {"task": toy_task(), "recipe": recipe, "held_out": data.search, "folder": folder}
    if stop_at is None:
        return train_supernet(supernet, data.train, **words, quiet=quiet)
    call, calls = Sandwich.__call__, []

    def stopping(self, *args):
        calls.append(None)
        if len(calls) > stop_at:
            raise Killed
        return call(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Sandwich, "__call__", stopping)
        with pytest.raises(Killed):
            train_supernet(supernet, data.train, **words, quiet=quiet)
    return None


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Weights of uninterrupted trainings, by whether autocast is on, and their folders."""
    folder = tmp_path_factory.mktemp("whole")
    return {amp: (run(folder / str(amp), amp), folder / str(amp)) for amp in (True, False)}


@pytest.fixture
def wide_enough(monkeypatch):
    """As on a machine where `auto` is on for these networks."""
    monkeypatch.setattr("supernet.precision.LEAST_WIDTH", 1)
    monkeypatch.setattr("supernet.precision.fast_devices", lambda: frozenset({"cpu", "cuda"}))


def test_small_networks_train_in_float32_bit_for_bit(whole):
    assert same_weights(run(None, "auto"), whole[False][0])
    assert not same_weights(whole[True][0], whole[False][0])


def test_where_it_is_faster_auto_is_the_same_as_true(whole, wide_enough):
    assert same_weights(run(None, "auto"), whole[True][0])


@pytest.mark.parametrize("again", [True, "auto"])
@pytest.mark.parametrize("stop_at", [3, 7])
def test_an_interrupted_training_ends_with_the_same_bits(
    whole, tmp_path, monkeypatch, stop_at, again
):
    run(tmp_path, True, stop_at=stop_at, monkeypatch=monkeypatch)
    assert same_weights(run(tmp_path, again), whole[True][0])


def test_recomputed_activations_give_the_same_bits(whole):
    assert same_weights(run(None, True, grad_checkpointing=True), whole[True][0])


def test_weights_their_average_and_the_optimiser_stay_in_float32(whole):
    for amp, (_, folder) in whole.items():
        state = load_checkpoint(folder / "checkpoint.pt").state
        assert state["recipe"]["amp"] is amp
        moments = [
            each for group in state["optimizer"]["state"].values() for each in group.values()
        ]
        for tensor in (*state["model"].values(), *state["ema"].values(), *moments):
            assert tensor.dtype == torch.float32


def test_losses_are_float32():
    supernet = toy_supernet().train()
    rng = torch.Generator().manual_seed(0)
    images = torch.randn(8, 3, 16, 16, generator=rng)
    batch = Batch(images, torch.arange(8), torch.zeros(8))
    archs = [supernet.space.smallest()]
    losses = [
        Sandwich(supernet, toy_task(), SupernetRecipe(amp=amp))(batch, archs)
        for amp in (True, False)
    ]
    for name, loss in losses[0].items():
        assert loss.dtype == torch.float32
        # Near the loss in float32, and not it: autocast was on.
        assert loss.item() == pytest.approx(losses[1][name].item(), rel=0.05)
    assert any(loss.item() != losses[1][name].item() for name, loss in losses[0].items())


@pytest.mark.parametrize("began", [True, False])
def test_on_another_machine_a_training_goes_on_as_it_began(
    whole, tmp_path, monkeypatch, capsys, began
):
    def choose(fast):
        monkeypatch.setattr("supernet.precision.LEAST_WIDTH", 1)
        monkeypatch.setattr(
            "supernet.precision.fast_devices", lambda: frozenset({"cpu"} if fast else ())
        )

    choose(began)
    run(tmp_path, "auto", stop_at=3, monkeypatch=monkeypatch, quiet=False)
    on = "on" if began else "off"
    assert f"bfloat16 autocast: {on} (auto: " in capsys.readouterr().err
    choose(not began)
    resumed = run(tmp_path, "auto", quiet=False)
    line = f"bfloat16 autocast: {on} (auto: as this training began)"
    assert line in " ".join(capsys.readouterr().err.split())
    assert same_weights(resumed, whole[began][0])


class Rank(NamedTuple):
    """A process of two: the other one receives what the main one has sent."""

    is_main: bool
    sent: list

    def broadcast(self, value):
        if self.is_main:
            self.sent.append(value)
            return value
        return self.sent.pop(0)


@pytest.mark.parametrize("began", [True, False])
def test_processes_that_see_no_checkpoint_decide_as_the_main_one(tmp_path, monkeypatch, began):
    run(tmp_path / "main", began, stop_at=3, monkeypatch=monkeypatch)
    decisions, sent = [], []
    # A worker that sees no checkpoint takes the decision of the machine that started it.
    for is_main, folder, amp in ((True, "main", "auto"), (False, "other", not began)):
        monkeypatch.setattr(resume.Processes, "current", partial(Rank, is_main, sent))
        decisions.append(resume.start_training(amp, toy_supernet(), tmp_path / folder).autocast)
    assert decisions[0] == decisions[1]
    assert decisions[0].on is began
    assert not sent


@pytest.mark.parametrize("amp", [True, False])
def test_another_choice_in_the_middle_is_refused(tmp_path, monkeypatch, amp):
    run(tmp_path, amp, stop_at=3, monkeypatch=monkeypatch)
    before = (tmp_path / "checkpoint.pt").read_bytes()
    with pytest.raises(InputError, match=f"amp was {amp}, is {not amp}; give the old values or"):
        run(tmp_path, not amp)
    assert (tmp_path / "checkpoint.pt").read_bytes() == before


@pytest.mark.parametrize("amp", ["auto", False])
def test_a_training_of_an_earlier_version_goes_on_in_float32(
    whole, tmp_path, monkeypatch, wide_enough, amp
):
    run(tmp_path, False, stop_at=3, monkeypatch=monkeypatch)
    as_of_earlier_version(tmp_path / "checkpoint.pt", amp=True)
    assert same_weights(run(tmp_path, amp), whole[False][0])


def as_of_earlier_version(path, **recipe):
    """Their default was true, which was for GPUs alone."""
    state = load_checkpoint(path).state
    earlier = {"schema": resume.EARLIER_SCHEMA, "recipe": {**state["recipe"], **recipe}}
    save_checkpoint({**state, **earlier}, path)


def test_a_checkpoint_that_does_not_tell_is_refused_in_a_line(tmp_path, monkeypatch):
    run(tmp_path, True, stop_at=3, monkeypatch=monkeypatch)
    as_of_earlier_version(tmp_path / "checkpoint.pt", amp="sometimes")
    with pytest.raises(InputError) as caught:
        run(tmp_path, "auto")
    assert str(caught.value) == (
        f"{tmp_path / 'checkpoint.pt'}: no state of a training: recipe.amp must be true or false, "
        "got 'sometimes'; delete it to start anew"
    )


def test_a_subnet_is_retrained_under_autocast_too():
    def again(amp):
        subnet = toy_supernet()
        recipe = RetrainRecipe(epochs=1, amp=amp)
        arch = subnet.space.smallest()
        return retrain(
            extract(subnet, arch), random_loader(), task=toy_task(), recipe=recipe, quiet=True
        )

    assert same_weights(again(True), again(True))
    assert same_weights(again("auto"), again(False))
    assert not same_weights(again(True), again(False))
    assert all(each.dtype == torch.float32 for each in again(True).state_dict().values())
