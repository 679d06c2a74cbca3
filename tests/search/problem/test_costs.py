"""Costs that need no evaluation, against their definitions."""

import random
from dataclasses import replace

import pytest
from dense_toys import dense_supernet
from space_toys import deit_small, random_space, seeded_spaces

from search.latency.costs import make_problem
from search.problem.costs import FREE_COSTS, mac_limit
from search.study.warm_start import initial_archs
from space import Arch, BlockArch, Pool, macs, params, token_counts
from space.cost import ParamCost, TokenCost, activation_memory, total
from space.counting.bands import Bands

SHARED = BlockArch(attention="shared")


def drawn(seed):
    """A random space, and up to ten of its archs."""
    space = random_space(random.Random(seed))
    rng = random.Random(seed)
    return space, [space.graph.path(rng.randrange(space.size())) for _ in range(10)]


@pytest.mark.parametrize("seed", range(60))
def test_params_and_tokens_add_up_over_the_blocks(seed):
    space, archs = drawn(seed)
    shape = space.shape
    for arch in archs:
        assert total(arch, shape, ParamCost(shape)) == params(arch, shape)
        assert total(arch, shape, TokenCost(shape)) == sum(token_counts(arch, shape))


def test_a_budget_without_the_head_is_one_of_the_macs():
    shape = dense_supernet().shape
    head = shape.head.macs
    assert mac_limit({}, shape) is None
    assert mac_limit({"params": 5, "latency_ms": 3}, shape) is None
    assert mac_limit({"macs": 7e6}, shape) == 7e6
    assert mac_limit({"backbone_macs": 5}, shape) == 5 + head
    assert mac_limit({"backbone_macs": 5, "macs": 4 + head}, shape) == 4 + head
    assert mac_limit({"backbone_macs": 5}, replace(shape, head_per_token=1)) is None


def test_a_search_begins_with_the_same_archs_whether_its_budget_counts_the_head_or_not():
    space = dense_supernet().space
    head, full = space.shape.head.macs, macs(space.largest(), space.shape)
    limit = round(0.8 * (full - head))
    budgets = {"macs": limit + head}, {"backbone_macs": limit}
    problems = [make_problem(space, ["rmse=min"], budget, {}, []) for budget in budgets]
    whole, backbone = (initial_archs(problem, 0) for problem in problems)
    assert whole == backbone
    assert len(whole) > 8


def test_bands_of_any_additive_cost_have_its_range():
    for space in seeded_spaces(20, most=3000):
        archs = [space.graph.path(rank) for rank in range(space.size())]
        for cost in FREE_COSTS.values():
            if cost.additive:
                values = [cost.compute(arch, space.shape) for arch in archs]
                bands = Bands(space.graph, cost.additive(space.shape))
                assert (bands.low, bands.high) == (min(values), max(values))


def memory_reference(arch, shape):
    """Elements alive in each phase of each block, from the definition, looking at neighbours."""
    tokens, found, kept = shape.patch_tokens, [], None
    width, heads, inner = shape.width, shape.heads, shape.attention_width
    hidden = shape.mlp.macs // shape.width
    for i, block in enumerate(arch.blocks):
        following = arch.blocks[i + 1] if i + 1 < arch.depth else BlockArch()
        before = arch.blocks[i - 1] if i else BlockArch()
        starts = block.skip > 0 and before.skip == 0
        if block.pool:
            height_width = block.pool.grid
            after = (
                height_width[0] * height_width[1]
                if height_width
                else -(-tokens // block.pool.stride)
            )
            found.append((tokens + after + 2 * shape.prefix) * width)
            tokens = after
        if starts:
            kept = token_counts(arch, shape)[i]
        n = (kept if block.skip else tokens) + shape.prefix
        maps = heads * n * n
        shares, selects = following.shared, following.skip > 0 and block.skip == 0
        selector = following.selector if selects else None
        if block.shared:
            attention = 2 * n * width + 2 * n * inner + maps
        else:
            made = {"map": 3 * maps, "cls": 0, "random": 0, None: 2 * maps * shares}[selector]
            attention = 2 * n * width + 4 * n * inner + made
        left = maps if block.shared or shares else 0
        mlp = 2 * n * width + hidden * n + left
        held = (tokens + shape.prefix) * width if block.skip else 0
        found += [held + attention, held + mlp]
    return max(found)


@pytest.mark.parametrize("seed", range(200))
def test_activation_memory_is_the_largest_phase(seed):
    space, archs = drawn(seed)
    for arch in archs:
        found = activation_memory(arch, space.shape)
        assert found == 4 * memory_reference(arch, space.shape), arch


def test_activation_memory_of_deit_small_by_hand():
    shape = deit_small()
    n, d = 197, 384
    full = Arch.full(12)
    assert activation_memory(full, shape) == 4 * n * (2 * d + 8 * d), "the MLP, twice 4 D wide"
    sharing = Arch((BlockArch(), SHARED, *full.blocks[2:]))
    attention = 2 * n * d + 4 * n * d + 2 * 6 * n * n
    assert activation_memory(sharing, shape) == 4 * max(attention, 10 * n * d + 6 * n * n)
    pooled = Arch((BlockArch(pool=Pool("avg2d", grid=(7, 7))), *full.blocks[1:]))
    assert activation_memory(pooled, shape) == 4 * max((197 + 50) * d, 50 * 10 * d)
