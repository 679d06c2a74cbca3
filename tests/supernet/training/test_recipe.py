import pytest
import torch
from supernet_toys import build_supernet
from training_toys import random_loader, toy_supernet, toy_task

from space import InputError
from supernet.training.optimizer import check_optimizer, make_optimizer
from supernet.training.recipe import SCHEDULES, Recipe, RetrainRecipe, SupernetRecipe
from supernet.training.train_supernet import train_supernet


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("lr", -1.0, "must be above 0, got -1.0"),
        ("lr", 0.0, "must be above 0, got 0.0"),
        ("lr", float("nan"), "must be above 0, got nan"),
        ("amp", "maybe", "must be auto, true or false, got 'maybe'"),
        ("amp", None, "must be auto, true or false, got None"),
        ("clip", 0.0, "must be above 0, got 0.0"),
        ("clip", -1.0, "must be above 0, got -1.0"),
        ("selector_share", -0.1, "must lie in 0 to 1, got -0.1"),
        ("selector_share", 1.1, "must lie in 0 to 1, got 1.1"),
        ("random_archs", -1, "must be at least 0, got -1"),
        ("distill_share", 1.5, "must lie in 0 to 1, got 1.5"),
        ("least_share", 1.0, "must lie in [0, 1), got 1.0"),
        ("watch", -1, "must be at least 0, got -1"),
        ("schedule", "cosinee", f"must be one of {', '.join(SCHEDULES)}, got 'cosinee'"),
        ("schedule", "plateau", f"must be one of {', '.join(SCHEDULES)}, got 'plateau'"),
        ("schedule", "none", f"must be one of {', '.join(SCHEDULES)}, got 'none'"),
    ],
)
def test_values_that_no_recipe_can_have_are_refused(name, value, message):
    with pytest.raises(InputError) as caught:
        SupernetRecipe(**{name: value})
    assert str(caught.value) == f"supernet.{name}: {message}"


@pytest.mark.parametrize(
    "args", [{"foo": 1}, {"lr": 1.0}, {"betas": [0.9]}, {"betas": [2.0, 0.9]}, {"eps": "small"}]
)
def test_arguments_that_the_optimiser_does_not_take_are_refused(args):
    with pytest.raises(InputError) as caught:
        check_optimizer(RetrainRecipe(optimizer_args=args))
    assert str(caught.value).startswith("retrain.optimizer_args: adamw cannot be built with {")
    assert "\n" not in str(caught.value)


def test_arguments_that_the_optimiser_takes_are_not():
    check_optimizer(Recipe(optimizer_args={"betas": [0.9, 0.95], "eps": 1e-6}))
    sgd = Recipe(optimizer="sgd", optimizer_args={"momentum": 0.8}, selector_share=0.0, clip=None)
    check_optimizer(sgd)


def test_an_unknown_optimiser_is_refused_before_anything_is_trained():
    recipe = SupernetRecipe(optimizer="adamv")
    with pytest.raises(InputError, match=r"supernet\.optimizer: unknown 'adamv'; did you"):
        train_supernet(toy_supernet(), random_loader(), task=toy_task(), recipe=recipe, quiet=True)


def test_a_schedule_that_does_not_fit_into_the_epochs_is_refused():
    recipe = SupernetRecipe(epochs=2, warmup_epochs=2, schedule="wsd")
    with pytest.raises(InputError, match=r"supernet\.schedule: wsd does not fit into 2 epochs"):
        train_supernet(toy_supernet(), random_loader(), task=toy_task(), recipe=recipe, quiet=True)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_schedule_trains(schedule):
    recipe = SupernetRecipe(epochs=2, warmup_epochs=1, schedule=schedule, random_archs=0, watch=0)
    train_supernet(toy_supernet(), random_loader(), task=toy_task(), recipe=recipe, quiet=True)


def test_under_layer_decay_operators_learn_at_the_rate_of_their_block():
    net = build_supernet("class token", torch.float32)
    optimizer = make_optimizer(net, SupernetRecipe(lr=1.0, layer_decay=0.5, selector_lr=0.1))
    scales = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    named = dict(net.named_parameters())
    operators = [name for name in named if name.startswith("pools.")]
    assert operators
    for name in operators:
        block = named[f"blocks.{name.split('.')[1]}.mlp.fc1.weight"]
        assert scales[id(named[name])]["lr_scale"] == scales[id(block)]["lr_scale"] < 1
    selectors = [scales[id(p)] for p in net.selectors.parameters()]
    assert {(group["lr"], group["weight_decay"]) for group in selectors} == {(0.1, 0.0)}
