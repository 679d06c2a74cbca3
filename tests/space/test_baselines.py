"""Hand-made archs: each family's largest member inside the budget, against brute force."""

import itertools
import random

import pytest
from space_toys import deit_small, seeded_spaces

from space import Arch, BlockArch, Pool, SearchSpace, baselines, macs

FULL = 4_598_882_304
OWN, SHARED = BlockArch(), BlockArch(attention="shared")
AXIS_OF = {
    "alternate skip": "skip",
    "skip alone": "skip",
    "two pools": "pool",
    "late pools": "pool",
    "early pools": "pool",
    "linear pools": "pool",
    "share 1:1": "share",
    "share 1:2": "share",
    "share alone": "share",
}
EVERYTHING = {
    "pool": {"kinds": ["avg2d", "avg1d"], "grids": [10, 7], "strides": [2]},
    "share": {"max_run": 3},
    "skip": {"ratios": [0.5, 0.75], "max_run": 3},
}


def space_of(values, depth=12):
    return SearchSpace.from_dict(values, deit_small(depth))


def periodic(depth, first, plain, others, block):
    """Plain up to `first`; from there `plain` plain blocks and `others` of `block` in turn."""
    pattern = itertools.cycle([OWN] * plain + [block] * others)
    return Arch(tuple(OWN if i < first else next(pattern) for i in range(depth)))


def listed(arch, blocks):
    """The arch with plain blocks where the space lists none."""
    return Arch(tuple(block if i in blocks else OWN for i, block in enumerate(arch.blocks)))


def skipping(space, run):
    """Runs of that length, a full block before each."""
    if "skip" not in space.axes:
        return
    for ratio, selector in itertools.product(
        space.axes["skip"].ratios, space.axes["skip"].selectors
    ):
        block = BlockArch(skip=ratio, selector=selector)
        for first in range(space.shape.depth):
            yield listed(
                periodic(space.shape.depth, first, 1, run, block), space.axes["skip"].blocks
            )


def sharing(space, run):
    if "share" in space.axes:
        for first in range(space.shape.depth):
            yield listed(
                periodic(space.shape.depth, first, 1, run, SHARED), space.axes["share"].blocks
            )


def pooling(space, wanted):
    """Poolings of one kind, each at the free allowed block nearest to its wanted place.

    2-D kinds to targets all different, 1-D kinds by the same stride each time.
    """
    if "pool" not in space.axes or len(space.axes["pool"].blocks) < len(wanted):
        return
    places = []
    for place in wanted:
        free = [i for i in space.axes["pool"].blocks if i not in places]
        places.append(min(free, key=lambda i, place=place: (abs(i - place), i)))
    for kind in space.axes["pool"].kinds:
        pools = [pool for pool in space.axes["pool"].choices if pool.kind == kind]
        for chosen in itertools.product(pools, repeat=len(places)):
            if len(set(chosen)) != (1 if kind.endswith("1d") else len(chosen)):
                continue
            at = dict(zip(sorted(places), chosen, strict=True))
            yield Arch(tuple(BlockArch(pool=at.get(i)) for i in range(space.shape.depth)))


def most_pools(space):
    """Of the archs drawn, which for the small spaces here is of all."""
    archs = map(space.graph.path, range(0, space.size(), 1 + space.size() // 20_000))
    return max(sum(1 for block in arch.blocks if block.pool) for arch in archs)


def families(space):
    depth, pools = space.shape.depth, most_pools(space)
    found = {
        "alternate skip": skipping(space, 1),
        "skip alone": skipping(space, space.axes["skip"].max_run if "skip" in space.axes else 0),
        "two pools": pooling(space, [depth / 3, 2 * depth / 3]),
        "late pools": pooling(space, range(depth - pools, depth)),
        "early pools": pooling(space, range(pools)),
        "linear pools": pooling(space, [(j + 1) * depth / (pools + 1) for j in range(pools)]),
        "share 1:1": sharing(space, 1),
        "share 1:2": sharing(space, 2),
        "share alone": sharing(space, space.axes["share"].max_run if "share" in space.axes else 0),
    }
    return {
        name: {space.canonical(arch) for arch in archs if arch in space} - {space.largest()}
        for name, archs in found.items()
    }


def test_each_family_gives_its_largest_member_inside_the_budget_and_its_floor():
    rng, seen = random.Random(0), 0
    for space in seeded_spaces(150, least=2, most=20_000, depth=7):
        expected = families(space)
        budgets = [space.mac_bands.low - 1, space.mac_bands.high]
        budgets += [rng.randint(space.mac_bands.low, space.mac_bands.high) for _ in range(4)]
        for budget in budgets:
            found = baselines(space, budget)
            assert [baseline.name for baseline in found] == list(expected)
            for name, arch, floor in ((each.name, each.arch, each.floor) for each in found):
                costs = {member: macs(member, space.shape) for member in expected[name]}
                inside = [cost for cost in costs.values() if cost <= budget]
                assert floor == min(costs.values(), default=None)
                assert (arch is None) == (not inside)
                if arch is not None:
                    assert arch in space
                    # Ties go by the text of the arch: sets have another order in each process.
                    tied = [member for member in costs if costs[member] == max(inside)]
                    assert arch == max(tied, key=repr)
                    seen += 1
    assert seen > 1000


@pytest.mark.parametrize("missing", ["pool", "share", "skip"])
def test_a_family_has_no_member_where_its_axis_is_not_searched(missing):
    values = {axis: part for axis, part in EVERYTHING.items() if axis != missing}
    for baseline in baselines(space_of(values), FULL):
        absent = AXIS_OF[baseline.name] == missing
        assert (baseline.floor is None) == (baseline.arch is None) == absent


# The part of DeiT-S's MACs that the smallest member needs, as measured before.
FLOORS = [
    ({"skip": {"ratios": [0.5]}}, "alternate skip", 0.75),
    ({"skip": {"ratios": [0.75]}}, "alternate skip", 0.63),
    ({"skip": {"ratios": [0.5], "max_run": 3}}, "skip alone", 0.62),
    ({"skip": {"ratios": [0.75], "max_run": 3}}, "skip alone", 0.44),
    ({"share": {"max_run": 3}}, "share alone", 0.86),
    ({"share": {"max_run": 12}}, "share alone", 0.83),
]


@pytest.mark.parametrize(("values", "name", "part"), FLOORS)
def test_floors_of_deit_small_are_those_known(values, name, part):
    floors = {baseline.name: baseline.floor for baseline in baselines(space_of(values), FULL)}
    assert floors[name] / FULL == pytest.approx(part, abs=0.005)


def test_alternate_skip_is_every_other_block_of_deit_small():
    space = space_of({"skip": {"ratios": [0.5]}})
    floor = next(each for each in baselines(space, FULL) if each.name == "alternate skip").floor
    found = {each.name: each for each in baselines(space, floor)}["alternate skip"].arch
    assert found == Arch((OWN, BlockArch(skip=0.5)) * 6)
    assert macs(found, space.shape) == floor


def test_all_poolings_are_as_many_as_blocks_and_targets_allow():
    one_block = space_of({"pool": {"blocks": [6], "kinds": ["avg2d"], "grids": [10, 7]}})
    one_grid = space_of({"pool": {"blocks": [4, 6], "kinds": ["avg2d"], "grids": [7]}})
    for space in (one_block, one_grid):
        found = {each.name: each.arch for each in baselines(space, FULL)}
        assert found["two pools"] is None
        for name in ("late pools", "early pools", "linear pools"):
            pools = [i for i, block in enumerate(found[name].blocks) if block.pool]
            assert len(pools) == 1


@pytest.mark.parametrize("blocks", [[1, 3, 5, 7, 9], [2, 3, 4, 6, 7, 8], [5]])
def test_families_keep_to_the_blocks_that_the_space_lists(blocks):
    values = {
        "skip": {"blocks": blocks, "ratios": [0.5], "max_run": 2},
        "share": {"blocks": blocks, "max_run": 2},
    }
    space = space_of(values)
    for baseline in baselines(space, FULL):
        if AXIS_OF[baseline.name] != "pool":
            changed = [i for i, block in enumerate(baseline.arch.blocks) if block != OWN]
            assert changed
            assert {*changed} <= {*blocks}


def test_where_poolings_stand_tells_the_families_apart():
    space = space_of({"pool": {"kinds": ["avg2d"], "grids": [10, 7], "max_pools": 2}})
    places = {
        each.name: [i for i, block in enumerate(each.arch.blocks) if block.pool]
        for each in baselines(space, FULL)
        if each.arch
    }
    assert places == {
        "two pools": [4, 8],
        "late pools": [10, 11],
        "early pools": [0, 1],
        "linear pools": [4, 8],
    }
    found = {each.name: each.arch for each in baselines(space, FULL)}
    pools = [block.pool for block in found["late pools"].blocks if block.pool]
    assert pools == [Pool("avg2d", grid=(10, 10)), Pool("avg2d", grid=(7, 7))]


def test_a_budget_below_the_floor_gives_the_floor_and_no_arch():
    for baseline in baselines(space_of(EVERYTHING), 1):
        assert baseline.arch is None
        assert baseline.floor > 1
