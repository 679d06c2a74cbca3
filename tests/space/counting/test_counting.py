"""The graph against brute force: every product of raw choices, canonicalised and filtered."""

import pickle
import random
from collections import Counter
from itertools import pairwise

import pytest
import space_reference as reference
from space_toys import deit_small, seeded_spaces

from space import Arch, SearchSpace, macs
from space.cost import MacCost
from space.counting.graph import Graph

SPACES = 300
MAX_RAW = 4000


@pytest.fixture(scope="module")
def brute():
    """Small spaces, each with its archs in the order in which raw choices first give them."""
    spaces = [s for s in seeded_spaces(3 * SPACES, depth=4) if reference.raw_size(s) <= MAX_RAW]
    found = []
    for space in spaces[:SPACES]:
        archs = dict.fromkeys(reference.canonical(raw, space) for raw in reference.raw_archs(space))
        found.append((space, [arch for arch in archs if reference.valid(arch, space)]))
    return found


def paths(space):
    return [space.graph.path(rank) for rank in range(space.size())]


def test_the_spaces_cover_every_axis_and_limit(brute):
    seen = Counter()
    for _, archs in brute:
        seen["space"] += 1
        seen["several"] += len(archs) > 1
        for arch in archs:
            for before, block in zip((None, *arch.blocks), arch.blocks, strict=False):
                seen[block.pool and block.pool.kind] += 1
                seen[block.selector] += 1
                seen["run"] += bool(before and before.skip and block.skip)
                seen["shared in a run"] += bool(block.skip and block.shared)
            seen["two pools"] += sum(1 for block in arch.blocks if block.pool) == 2
    wanted = ("avg2d", "max2d", "conv2d", "avg1d", "max1d", "conv1d")
    wanted += ("map", "cls", "random", "run", "shared in a run", "two pools")
    assert seen["space"] == SPACES
    assert seen["several"] > 150
    assert all(seen[each] > 20 for each in wanted), seen


def test_the_graph_holds_exactly_the_archs_of_brute_force_in_gene_order(brute):
    for space, archs in brute:
        assert paths(space) == archs
        assert space.size() == len(archs) == len(set(archs))


def test_canonical_form_and_rules_agree_with_the_reference_on_every_raw_choice(brute):
    for space, archs in brute[::4]:
        right = set(archs)
        for raw in reference.raw_archs(space):
            expected = reference.canonical(raw, space)
            assert (raw in space) == (expected in right)
            # Where a block both pools and skips, which no rule allows, no form is defined.
            if not any(block.pool and block.skip for block in expected.blocks):
                assert space.canonical(raw) == expected


def test_no_arch_outside_the_graph_is_in_the_space(brute):
    rng = random.Random(0)
    for space, archs in brute[:60]:
        right = set(archs)
        for _ in range(20):
            blocks = [rng.choice(archs).blocks for _ in range(space.shape.depth)]
            mixed = Arch(tuple(row[i] for i, row in enumerate(blocks)))
            assert (mixed in space) == (space.canonical(mixed) in right)


def test_smallest_is_worked_out_once(monkeypatch):
    space = SearchSpace.from_dict({"share": {"max_run": 1}}, deit_small())
    calls, cheapest = [], Graph.cheapest

    def counting(self, cost):
        calls.append(cost)
        return cheapest(self, cost)

    monkeypatch.setattr(Graph, "cheapest", counting)
    assert space.smallest() == space.smallest()
    assert len(calls) == 1
    assert pickle.loads(pickle.dumps(space)).smallest() == space.smallest()


def test_smallest_has_the_fewest_macs_and_ties_go_to_the_first_in_gene_order(brute):
    ties = 0
    for space, archs in brute:
        costs = [macs(arch, space.shape) for arch in archs]
        assert space.smallest() == archs[costs.index(min(costs))]
        ties += costs.count(min(costs)) > 1
    assert ties > 10


def test_the_costs_of_edges_add_up_to_macs(brute):
    for space, archs in brute:
        cost = MacCost(space.shape)
        prices = space.graph.edge_costs(cost)
        for arch in archs[:: 1 + len(archs) // 20]:
            total, node = 0, 0
            for level, costs, block in zip(space.graph.edges, prices, arch.blocks, strict=True):
                at = [edge.block for edge in level[node]].index(block)
                total, node = total + costs[node][at], level[node][at].to
            total += cost.rest(space.graph.levels[-1][node])
            assert total == macs(arch, space.shape)


def test_the_ends_of_the_costs_are_those_of_brute_force(brute):
    for space, archs in brute:
        costs = [macs(arch, space.shape) for arch in archs]
        assert (space.mac_bands.low, space.mac_bands.high) == (min(costs), max(costs))


def test_counts_in_any_band_are_those_of_brute_force(brute):
    rng = random.Random(1)
    for space, archs in brute:
        costs = [macs(arch, space.shape) for arch in archs]
        for _ in range(5):
            low, high = sorted(rng.choices(range(min(costs) - 2, max(costs) + 3), k=2))
            count = space.mac_bands.count(low, high)
            assert count == (sum(low <= cost <= high for cost in costs), True)


def test_histogram_has_bands_of_equal_width_that_hold_every_arch_once(brute):
    for space, archs in brute[:100]:
        costs = [macs(arch, space.shape) for arch in archs]
        low, span = min(costs), max(costs) + 1 - min(costs)
        edges = [low + span * i // 7 for i in range(8)]
        expected = [sum(a <= cost < b for cost in costs) for a, b in pairwise(edges)]
        assert [count.value for count in space.mac_bands.histogram(7)] == expected
        assert sum(expected) == len(archs)


def test_a_space_without_axes_holds_the_full_arch_alone(brute):
    shape = brute[0][0].shape
    space = SearchSpace(shape)
    assert paths(space) == [Arch.full(shape.depth)] == [space.smallest()] == [space.largest()]
