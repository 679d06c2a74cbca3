"""Bands and exact sums of large spaces: estimates, counts past 64 bits, draws that stay inside."""

import math

import numpy as np
import pytest
from space_toys import deit_small, seeded_spaces

from space import InputError, SearchSpace, macs
from space.cost import MacCost
from space.counting import exact_sums as sums_module
from space.counting.bands import Bands
from space.operators.walk import advance

EVERYTHING = {
    "pool": {
        "kinds": ["avg2d", "max2d", "conv2d", "avg1d", "conv1d"],
        "grids": [10, 7, 4],
        "strides": [2],
    },
    "share": {"max_run": 3},
    "skip": {"ratios": [0.25, 0.5, 0.75], "selectors": ["map", "cls"], "max_run": 3},
}


def bands_of(space, cost=None):
    return Bands(space.graph, cost or MacCost(space.shape))


@pytest.fixture(scope="module")
def large():
    """DeiT-S with every axis, 4 * 10^9 archs; its exact sums fit in memory."""
    space = SearchSpace.from_dict(EVERYTHING, deit_small())
    assert space.mac_bands.exact_sums is not None
    return space


@pytest.fixture(scope="module")
def deep():
    """Sharing alone, without a limit, on 80 blocks: C(79, k) archs share k blocks."""
    return SearchSpace.from_dict({"share": {"max_run": 80}}, deit_small(depth=80))


@pytest.fixture
def without_sums(monkeypatch):
    monkeypatch.setattr(sums_module, "MAX_SUMS", 10)


class MadeUpCost:
    """A cost that is no MACs: its own terms for tokens, sharing and poolings so far."""

    def block(self, state, block):
        return state.tokens.patches + 10 * block.shared + 1000 * state.counters[0]

    def rest(self, state):
        return 7


@pytest.mark.parametrize("share", [0.02, 0.1, 0.5])
def test_estimates_are_called_so_and_lie_near_the_exact_count(large, share, without_sums):
    exact, estimated = large.mac_bands, bands_of(large)
    half = int((exact.high - exact.low) * share / 2)
    for at in (0.3, 0.5, 0.7):
        middle = exact.low + int((exact.high - exact.low) * at)
        estimate = estimated.count(middle - half, middle + half)
        assert estimated.exact_sums is None
        assert not estimate.exact
        right = exact.count(middle - half, middle + half)
        assert right.exact
        assert estimate.value == pytest.approx(right.value, rel=0.2)


def test_an_estimate_lies_between_what_surely_is_inside_and_what_may_be(without_sums):
    for space in seeded_spaces(40, least=50, most=4000):
        bands, costs = bands_of(space), []
        for rank in range(space.size()):
            costs.append(macs(space.graph.path(rank), space.shape))
        margin = bands.width * (space.shape.depth + 1)
        for low, high in np.quantile(costs, [[0.1, 0.9], [0.4, 0.6], [0.0, 1.0]]).astype(int):
            least = sum(low + margin <= cost <= high - margin for cost in costs)
            most = sum(low - margin <= cost <= high + margin for cost in costs)
            assert least <= bands.count(low, high).value <= most


def test_draws_without_exact_sums_stay_inside_the_band(large, without_sums):
    rng, bands = np.random.default_rng(0), bands_of(large)
    for at in (0.2, 0.5, 0.8):
        low = bands.low + int((bands.high - bands.low) * at)
        high = low + (bands.high - bands.low) // 50
        for _ in range(50):
            arch = bands.sample(rng, low, high)
            assert arch in large
            assert low <= macs(arch, large.shape) <= high


def test_an_empty_looking_band_is_not_called_empty_without_exact_sums(large, without_sums):
    bands = bands_of(large)
    gap = bands.high - 1
    with pytest.raises(InputError, match="no arch was found with a cost in"):
        bands.sample(np.random.default_rng(1), gap, gap)
    with pytest.raises(InputError, match="no arch has a cost in"):
        large.mac_bands.sample(np.random.default_rng(1), gap, gap)
    with pytest.raises(InputError, match="no arch has a cost in"):
        bands.sample(np.random.default_rng(1), 0, bands.low - 1)


@pytest.mark.parametrize("share", [0.005, 0.0005])
def test_narrow_bands_of_a_large_space_are_met_exactly(large, share):
    rng, bands = np.random.default_rng(2), large.mac_bands
    width = (bands.high - bands.low) * share
    for at in (0.1, 0.4, 0.9):
        low = bands.low + (bands.high - bands.low) * at
        for _ in range(20):
            arch = large.sample(rng, macs=(low, low + width))
            assert arch in large
            assert low <= macs(arch, large.shape) <= low + width


def test_the_histogram_of_a_large_space_adds_up_to_its_size(large, without_sums):
    assert sum(count.value for count in large.mac_bands.histogram(50)) == large.size()
    estimated = [count.value for count in bands_of(large).histogram(10)]
    assert sum(estimated) == pytest.approx(large.size(), rel=0.05)


def test_any_additive_cost_can_be_counted_and_drawn_by():
    rng = np.random.default_rng(3)
    for space in seeded_spaces(40, least=20, most=400):
        cost = MadeUpCost()
        bands, costs = bands_of(space, cost), {}
        for rank in range(space.size()):
            arch = space.graph.path(rank)
            state, costs[arch] = space.graph.levels[0][0], 7
            for block in arch.blocks:
                costs[arch] += cost.block(state, block)
                state = advance(state, block)
        least = min(costs.values())
        assert space.graph.cheapest(cost) == next(arch for arch in costs if costs[arch] == least)
        low, high = (int(each) for each in np.quantile(list(costs.values()), [0.25, 0.75]))
        inside = {arch for arch, value in costs.items() if low <= value <= high}
        assert bands.count(low, high) == (len(inside), True)
        assert {bands.sample(rng, low, high) for _ in range(30)} <= inside


def test_sizes_past_64_bits_are_exact(deep):
    assert deep.size() == 2**79
    skipping = SearchSpace.from_dict({"skip": {"ratios": [0.25, 0.5]}}, deit_small(depth=100))
    # A block sees all tokens, or skips at one of two ratios after one that sees all.
    full, skips = 1, 0
    for _ in range(99):
        full, skips = full + skips, 2 * full
    assert skipping.size() == full + skips > 1 << 64


def test_counts_past_64_bits_are_binomial_where_only_sharing_costs(deep):
    bands = deep.mac_bands
    saved = (bands.high - bands.low) // 79
    assert bands.exact_sums is not None
    for shared in range(80):
        cost = bands.high - shared * saved
        assert bands.count(cost, cost) == (math.comb(79, shared), True)
    assert bands.count(bands.low, bands.high) == (2**79, True)


def test_estimates_past_64_bits_are_off_by_no_more_than_the_buckets_drift(deep, without_sums):
    bands = bands_of(deep)
    saved, drift = (bands.high - bands.low) // 79, bands.width * 81
    low, high = bands.high - 50 * saved, bands.high - 30 * saved
    costs = {bands.high - k * saved: math.comb(79, k) for k in range(80)}
    least, most = (
        sum(number for cost, number in costs.items() if low - more <= cost <= high + more)
        for more in (-drift, drift)
    )
    assert bands.exact_sums is None
    assert 0 < least <= bands.count(low, high).value <= most < 2**79


@pytest.mark.parametrize("exact", [True, False])
def test_draws_past_64_bits_are_uniform_over_the_shared_blocks(deep, exact):
    rng, bands = np.random.default_rng(4), bands_of(deep)
    saved = (bands.high - bands.low) // 79
    low, high = bands.high - 21 * saved, bands.high - 20 * saved
    draw = bands.exact_sums.sample if exact else bands.sample
    drawn = [draw(rng, low, high) for _ in range(200)]
    shared = np.array([[block.shared for block in arch.blocks] for arch in drawn])
    assert set(shared.sum(axis=1)) == {20, 21}
    assert not shared[:, 0].any()
    ways = math.comb(79, 20), math.comb(79, 21)
    part = (20 * ways[0] + 21 * ways[1]) / sum(ways) / 79
    deviations = (shared[:, 1:].sum(axis=0) - 200 * part) ** 2 / (200 * part * (1 - part))
    assert abs(deviations.sum() - 79) / math.sqrt(2 * 79) < 5


def test_draws_of_a_deep_space_with_every_axis_are_valid_and_inside_their_band():
    space = SearchSpace.from_dict(EVERYTHING, deit_small(depth=40))
    rng, bands = np.random.default_rng(5), space.mac_bands
    assert space.size() > 1 << 64
    assert bands.count(bands.low, bands.high).value == pytest.approx(space.size(), rel=0.05)
    for at in (0.2, 0.5, 0.8):
        low = bands.low + (bands.high - bands.low) * at
        high = low + (bands.high - bands.low) * 0.05
        for _ in range(5):
            arch = space.sample(rng, macs=(low, high))
            assert arch in space
            assert low <= macs(arch, space.shape) <= high
            assert space.sample(rng) in space
