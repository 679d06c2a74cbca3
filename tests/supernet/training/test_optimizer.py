import pytest
import torch
from torch import nn
from torch.nn.utils import clip_grad_norm_
from training_toys import random_loader, toy_supernet, toy_task

from space import InputError
from supernet.training.optimizer import check_optimizer, clip_gradients, split_parameters
from supernet.training.train_supernet import SupernetRecipe, train_supernet


def with_gradients(seed=0):
    torch.manual_seed(seed)
    layers = nn.Linear(5, 4), nn.Linear(4, 3)
    layers[1](layers[0](torch.randn(8, 5))).square().sum().backward()
    return {name: list(each.parameters()) for name, each in zip("ab", layers, strict=True)}


@pytest.mark.parametrize("most", [None, 0.01, 1e9])
def test_each_group_is_clipped_by_its_own_norm_as_torch_does(most):
    groups, plain, untouched = (with_gradients() for _ in range(3))
    norms = clip_gradients(groups, most)
    for name, parameters in plain.items():
        norm = clip_grad_norm_(parameters, torch.inf if most is None else most)
        assert norms[name] == norm.item()
        for one, other in zip(groups[name], parameters, strict=True):
            assert torch.equal(one.grad, other.grad)
    changed = [
        not torch.equal(one.grad, other.grad)
        for name in groups
        for one, other in zip(groups[name], untouched[name], strict=True)
    ]
    assert all(changed) if most == 0.01 else not any(changed)


def test_an_optimiser_for_gpus_passes_a_check_on_a_machine_without_one():
    check_optimizer(SupernetRecipe(optimizer="fusedadamw"))
    with pytest.raises(InputError, match=r"optimizer: unknown 'fusedadamv'; did you mean"):
        check_optimizer(SupernetRecipe(optimizer="fusedadamv"))
    with pytest.raises(InputError, match=r"optimizer_args: adamw cannot be built with .*'wrong'"):
        check_optimizer(SupernetRecipe(optimizer_args={"wrong": 1}))


def test_a_group_without_gradients_has_no_norm():
    groups = with_gradients()
    for parameter in groups["b"]:
        parameter.grad = None
    assert list(clip_gradients(groups, 1.0)) == ["a"]


def test_parameters_are_split_into_network_and_selectors():
    net = toy_supernet()
    groups = split_parameters(net)
    assert list(groups) == ["grad_norm", "selector_grad_norm"]
    own = {id(each) for each in net.selectors.parameters()}
    assert {id(each) for each in groups["selector_grad_norm"]} == own
    assert sum(map(len, groups.values())) == len(list(net.parameters()))
    assert own


def test_a_bound_acts_on_the_steps_of_a_training_and_not_on_the_norms_it_shows(tmp_path):
    def trained(name, clip):
        recipe = SupernetRecipe(
            epochs=1, random_archs=1, optimizer="sgd", lr=0.1, weight_decay=0.0, clip=clip
        )
        folder, net = tmp_path / name, toy_supernet()
        before = net.head.weight.detach().clone()
        train_supernet(
            net, random_loader(), task=toy_task(), recipe=recipe, folder=folder, quiet=True
        )
        return (net.head.weight - before).norm().item(), (folder / "log.jsonl").read_text()

    free, bounded, loose = trained("free", None), trained("bound", 1e-6), trained("loose", 1e9)
    assert bounded[0] < 1e-3 * free[0]
    assert loose[0] == free[0]
    assert "grad_norm" in bounded[1]
