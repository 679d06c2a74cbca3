"""The selector `random`: fixed places, drawn once for each block and number of tokens."""

import random

import pytest
import torch
from supernet_toys import OWN, close, first, images_for, skip, supernet_of, watch_blocks

from supernet import extract
from supernet.backbones.blocks import Exposed
from supernet.operators.selection import choose, choose_at_random, random_order

CPU, BY_CHANCE = torch.device("cpu"), skip(0.5, "random")
ORDER_OF_BLOCK_1 = (10, 11, 8, 6, 9, 3, 7, 5, 4, 2, 0, 1)


def test_random_places_never_change():
    """Trained networks rest on them, and store none."""
    assert random_order(1, 12) == ORDER_OF_BLOCK_1
    assert choose_at_random(1, 12, 5, CPU).tolist() == sorted(ORDER_OF_BLOCK_1[:5])


def test_random_places_are_a_permutation_for_each_block_and_number_of_tokens():
    orders = {random_order(block, tokens) for block in range(30) for tokens in (9, 49, 196)}
    assert len(orders) == 90
    assert all(sorted(order) == list(range(len(order))) for order in orders)


def test_fewer_random_places_are_some_of_more():
    for k in range(1, 49):
        fewer, more = (choose_at_random(3, 49, count, CPU).tolist() for count in (k, k + 1))
        assert set(fewer) < set(more)
        assert fewer == sorted(fewer)


def test_random_places_are_uniform_and_their_recall_is_chance():
    chosen = torch.stack([choose_at_random(block, 40, 10, CPU) for block in range(2000)])
    counts = torch.bincount(chosen.flatten(), minlength=40)
    chi_square = (counts - 500).square().sum() / 500 / (1 - 10 / 40)
    assert 10 < chi_square < 85  # 39 degrees of freedom, 5 standard deviations
    scores = torch.randn(1, 40, generator=torch.Generator().manual_seed(0))
    relevant = choose(scores, 10)
    hits = (chosen[..., None] == relevant[0]).any(-1).double().mean()
    assert float(hits) == pytest.approx(10 / 40, abs=0.02)


def test_random_places_neither_read_nor_change_any_generator():
    net, arch = supernet_of("class token"), first(OWN, BY_CHANCE, OWN, BY_CHANCE)
    images, found = images_for(net), []
    for seed in (0, 1):
        torch.manual_seed(seed)
        random.seed(seed)
        random_order.cache_clear()
        before = torch.get_rng_state(), random.getstate()
        found.append(net.forward_with_choices(images, arch)[1])
        assert torch.equal(torch.get_rng_state(), before[0])
        assert random.getstate() == before[1]
    assert all(map(torch.equal, *found))


def test_all_images_go_by_the_same_random_places_and_blocks_by_others(monkeypatch):
    net, seen = supernet_of("registers"), watch_blocks(monkeypatch)
    arch = first(OWN, BY_CHANCE, OWN, BY_CHANCE)
    images = images_for(net, 4)
    logits, (one, other) = net.forward_with_choices(images, arch)
    assert (one == one[0]).all()
    assert one[0].tolist() != other[0].tolist()
    assert all(exposed == Exposed() for _, _, exposed in seen), "attention stays fused"
    subnet = extract(net, arch)
    for shown in (images, images_for(net, 1, seed=9)):
        chosen = subnet.forward_with_choices(shown)[1]
        assert [each[0].tolist() for each in chosen] == [one[0].tolist(), other[0].tolist()]
    close(subnet(images), logits)
    assert len(subnet.selectors) == 0
    assert [name for name, _ in subnet.named_buffers()] == []
