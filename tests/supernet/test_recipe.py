import pytest
from training_toys import random_loader, toy_supernet, toy_task

from space import InputError
from supernet.recipe import SCHEDULES, Recipe
from supernet.retraining import RetrainRecipe
from supernet.training import SupernetRecipe, train_supernet


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("lr", -1.0, "must be above 0, got -1.0"),
        ("lr", 0.0, "must be above 0, got 0.0"),
        ("lr", float("nan"), "must be above 0, got nan"),
        ("clip", 0.0, "must be above 0, got 0.0"),
        ("clip", -1.0, "must be above 0, got -1.0"),
        ("selector_share", -0.1, "must lie in 0 to 1, got -0.1"),
        ("selector_share", 1.1, "must lie in 0 to 1, got 1.1"),
        ("random_archs", -1, "must be at least 0, got -1"),
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
        RetrainRecipe(optimizer_args=args)
    assert str(caught.value).startswith("retrain.optimizer_args: adamw cannot be built with {")
    assert "\n" not in str(caught.value)


def test_arguments_that_the_optimiser_takes_are_not():
    Recipe(optimizer_args={"betas": [0.9, 0.95], "eps": 1e-6})
    Recipe(optimizer="sgd", optimizer_args={"momentum": 0.8}, selector_share=0.0, clip=None)


def test_a_schedule_that_does_not_fit_into_the_epochs_is_refused():
    recipe = SupernetRecipe(epochs=2, warmup_epochs=2, schedule="wsd")
    with pytest.raises(InputError, match=r"supernet\.schedule: wsd does not fit into 2 epochs"):
        train_supernet(toy_supernet(), random_loader(), task=toy_task(), recipe=recipe, quiet=True)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_schedule_trains(schedule):
    recipe = SupernetRecipe(epochs=2, warmup_epochs=1, schedule=schedule, random_archs=0, watch=0)
    train_supernet(toy_supernet(), random_loader(), task=toy_task(), recipe=recipe, quiet=True)
