"""Draws are uniform, from the whole space and inside bands, by chi-square at fixed seeds."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from space_toys import deit_small, deviation, seeded_spaces

from space import InputError, SearchSpace, macs
from space.cost import MacCost
from space.counting import bands as bands_module
from space.counting.bands import STRATA, Bands
from space.counting.graph import integer_below

VALUES = {
    "pool": {"blocks": [2, 3], "kinds": ["avg2d", "conv2d"], "grids": [7, 4]},
    "share": {"max_run": 2},
    "skip": {"ratios": [0.25, 0.5], "selectors": ["map", "cls"], "max_run": 2},
}
# Five standard deviations: a fixed seed that passes keeps passing, a skewed draw does not.
MOST = 5.0


@pytest.fixture(scope="module")
def space():
    return SearchSpace.from_dict(VALUES, deit_small(depth=4))


@pytest.fixture(scope="module")
def archs(space):
    return {arch: macs(arch, space.shape) for arch in map(space.graph.path, range(space.size()))}


def skew(draw, archs, each=30):
    """The deviation of draws from uniform over `archs`, which they must not leave."""
    archs = list(archs)
    seen = Counter(draw() for _ in range(each * len(archs)))
    assert set(seen) <= set(archs)
    return deviation([seen[arch] for arch in archs], [each] * len(archs))


def middle(archs, share):
    """A band around the median that holds about that share of the archs, and its members."""
    costs = sorted(archs.values())
    half = int(len(costs) * share / 2)
    low, high = costs[len(costs) // 2 - half], costs[len(costs) // 2 + half]
    return low, high, [arch for arch, cost in archs.items() if low <= cost <= high]


def test_deviation_tells_a_skewed_draw(archs):
    rng = np.random.default_rng(0)
    weights = np.linspace(0.7, 1.3, len(archs))
    members = list(archs)
    draws = iter(rng.choice(len(members), size=30 * len(members), p=weights / weights.sum()))
    assert skew(lambda: members[next(draws)], archs) > MOST


def test_a_part_of_a_graph_holds_the_paths_through_a_choice_and_no_other(space, archs):
    for i in range(space.shape.depth):
        for block in {arch.blocks[i] for arch in archs}:
            part = space.graph.restrict(i, {block})
            wanted = {arch for arch in archs if arch.blocks[i] == block}
            assert {part.path(rank) for rank in range(part.size)} == wanted
            assert part.size == len(wanted)


def test_archs_are_drawn_evenly_over_the_macs_of_each_pooling_kernel(space, archs):
    learned = {
        (i, block.pool.kind)
        for arch in archs
        for i, block in enumerate(arch.blocks)
        if block.pool and block.pool.learned
    }
    assert set(space.kernel_bands) == learned == {(2, "conv2d"), (3, "conv2d")}
    rng = np.random.default_rng(0)
    for (i, kind), bands in space.kernel_bands.items():
        pools = {arch: arch.blocks[i].pool for arch in archs}
        wanted = {arch for arch, pool in pools.items() if pool and pool.kind == kind}
        drawn = Counter(bands.sample_evenly(rng) for _ in range(60 * len(wanted)))
        assert set(drawn) == wanted
        costs = [archs[arch] for arch in wanted]
        assert (bands.low, bands.high) == (min(costs), max(costs))


def test_the_whole_space_is_drawn_uniformly(space, archs):
    assert len(archs) > 200
    rng = np.random.default_rng(1)
    assert abs(skew(lambda: space.sample(rng), archs)) < MOST


def test_small_random_spaces_are_drawn_uniformly():
    rng = np.random.default_rng(2)
    for space in seeded_spaces(20, least=5, most=60):
        paths = [space.graph.path(rank) for rank in range(space.size())]
        assert abs(skew(lambda space=space: space.sample(rng), paths)) < MOST


@pytest.mark.parametrize("share", [0.5, 0.1])
def test_a_band_is_drawn_uniformly_by_rejection(space, archs, share):
    low, high, members = middle(archs, share)
    rng = np.random.default_rng(3)
    assert len(members) > 20
    assert abs(skew(lambda: space.sample(rng, macs=(low, high)), members)) < MOST
    assert "exact_sums" not in vars(space.mac_bands)


@pytest.mark.parametrize("share", [0.1, 0.02])
def test_a_band_is_drawn_uniformly_from_exact_sums(space, archs, share, monkeypatch):
    monkeypatch.setattr(bands_module, "ATTEMPTS", 0)
    fresh = Bands(space.graph, MacCost(space.shape))
    low, high, members = middle(archs, share)
    rng = np.random.default_rng(4)
    assert abs(skew(lambda: fresh.sample(rng, low, high), members)) < MOST
    assert "exact_sums" in vars(fresh)


def test_a_band_of_one_cost_holds_its_ties(space, archs, monkeypatch):
    monkeypatch.setattr(bands_module, "ATTEMPTS", 2)
    cost, ties = Counter(archs.values()).most_common(1)[0]
    members = [arch for arch, other in archs.items() if other == cost]
    rng = np.random.default_rng(5)
    assert ties == len(members) > 2
    assert abs(skew(lambda: space.sample(rng, macs=(cost, cost)), members, each=60)) < MOST


def test_both_ends_of_a_band_are_included(space, archs):
    rng = np.random.default_rng(6)
    costs = sorted(set(archs.values()))
    for low, high in zip(costs[:-1:9], costs[1::9], strict=False):
        drawn = {macs(space.sample(rng, macs=(low, high)), space.shape) for _ in range(60)}
        assert drawn == {low, high}


def test_open_ends_mean_the_whole_space(space, archs):
    rng = np.random.default_rng(7)
    for band in ((0, float("inf")), (float("-inf"), float("inf")), (-(10**30), 10**30)):
        assert abs(skew(lambda band=band: space.sample(rng, macs=band), archs, each=10)) < MOST
        assert space.mac_bands.count(*band) == (len(archs), True)


def test_a_band_without_archs_is_refused_with_its_range_and_the_spaces(space, archs):
    rng = np.random.default_rng(8)
    costs = sorted(set(archs.values()))
    gaps = [(a + 1, b - 1) for a, b in pairwise(costs) if b - a > 2]
    outside = [(0, costs[0] - 1), (costs[-1] + 1, 10**12), (costs[-1], costs[0])]
    for low, high in [*gaps[::5], *outside, (float("nan"), 10**12), (0, float("nan"))]:
        with pytest.raises(ValueError, match="no arch has a cost in ") as caught:
            space.sample(rng, macs=(low, high))
        assert isinstance(caught.value, InputError)
        assert f"[{low:,.0f}, {high:,.0f}]" in str(caught.value)
        assert f"from {costs[0]:,} to {costs[-1]:,}" in str(caught.value)


def test_even_draws_reach_every_stratum_that_has_archs_equally(space, archs):
    rng = np.random.default_rng(9)
    low, high = min(archs.values()), max(archs.values())
    seen = Counter(space.mac_bands.sample_evenly(rng) for _ in range(4000))
    assert set(seen) <= set(archs)

    def stratum(arch):
        return min((archs[arch] - low) * STRATA // (high - low), STRATA - 1)

    filled = Counter(map(stratum, archs))
    reached = Counter()
    for arch, times in seen.items():
        reached[stratum(arch)] += times
    assert set(reached) == set(filled)
    assert len(filled) > 30
    counts = [reached[each] for each in filled]
    assert abs(deviation(counts, [4000 / len(filled)] * len(filled))) < MOST


def test_even_draws_end_where_all_archs_cost_the_same():
    rng = np.random.default_rng(10)
    space = SearchSpace(deit_small())
    assert space.mac_bands.sample_evenly(rng) == space.largest() == space.sample(rng)
    assert space.sample(rng, macs=(4_598_882_304, 4_598_882_304)) == space.largest()


@pytest.mark.parametrize("bound", [1, 2, 7, 2**63, 2**63 + 1, 3 * 2**70, 10**40])
def test_integers_are_uniform_below_any_bound(bound):
    rng = np.random.default_rng(11)
    draws = [integer_below(rng, bound) for _ in range(3500)]
    assert all(0 <= value < bound for value in draws)
    assert all(type(value) is int for value in draws)
    parts = min(bound, 7)
    seen = Counter(value * parts // bound for value in draws)
    if parts > 1:
        assert abs(deviation([seen[i] for i in range(parts)], [3500 / parts] * parts)) < MOST


def test_the_same_seed_draws_the_same_archs(space):
    def draws(seed):
        rng = np.random.default_rng(seed)
        found = [space.sample(rng) for _ in range(5)]
        found += [space.sample(rng, macs=(0, 1e9)) for _ in range(5)]
        return found + [space.mac_bands.sample_evenly(rng) for _ in range(5)]

    assert draws(12) == draws(12) != draws(13)
