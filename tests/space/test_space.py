"""Canonical form, membership, identity and violations of a space, on random archs."""

import copy
import dataclasses
import pickle
import random

import pytest
import space_reference as reference
from hypothesis import given
from hypothesis import strategies as st
from space_toys import deit_small, random_arch, random_space, randoms, seeded_spaces

from space import Arch, BlockArch, Pool, SearchSpace
from space.utils.reader import Reader


def doubly_chosen(arch):
    """Whether a block both pools and skips, which no rule allows."""
    return any(block.pool and block.skip for block in arch.blocks)


@given(randoms)
def test_canonical_form_is_that_of_the_reference(rng):
    space = random_space(rng)
    arch = random_arch(rng, space)
    expected = reference.canonical(arch, space)
    assert doubly_chosen(expected) or space.canonical(arch) == expected


@given(randoms)
def test_canonical_form_is_its_own(rng):
    space = random_space(rng)
    canonical = space.canonical(random_arch(rng, space))
    assert space.canonical(canonical) == canonical


@given(randoms)
def test_membership_is_that_of_the_reference_and_means_no_violations(rng):
    space = random_space(rng)
    arch = random_arch(rng, space)
    expected = reference.valid(reference.canonical(arch, space), space)
    assert (arch in space) == expected
    assert bool(space.violations(arch)) != expected


def test_random_archs_are_of_both_kinds():
    rng = random.Random(0)
    spaces = seeded_spaces(200)
    inside = sum(random_arch(rng, space) in space for space in spaces for _ in range(5))
    assert 300 < inside < 900


@given(randoms)
def test_an_arch_need_not_be_canonical_to_be_inside(rng):
    space = random_space(rng)
    arch = random_arch(rng, space)
    assert (arch in space) == (space.canonical(arch) in space)


def test_identity_is_equal_exactly_where_the_canonical_form_is():
    for space in seeded_spaces(150, least=2, most=2000, depth=4):
        paths = [space.graph.path(rank) for rank in range(space.size())]
        assert len({space.identity(path) for path in paths}) == len(paths)
        rng = random.Random(2)
        for raw in [random_arch(rng, space) for _ in range(20)]:
            same = space.identity(raw) == space.identity(space.canonical(raw))
            assert same


def test_identity_tells_selectors_and_kinds_apart():
    space = SearchSpace.from_dict(
        {
            "pool": {"kinds": ["avg2d", "max2d"], "grids": [7]},
            "skip": {"ratios": [0.5], "selectors": ["map", "cls"]},
        },
        deit_small(),
    )
    plain = [BlockArch()] * 11
    tails = [
        BlockArch(),
        BlockArch(skip=0.5),
        BlockArch(skip=0.5, selector="cls"),
        BlockArch(pool=Pool("avg2d", grid=(7, 7))),
        BlockArch(pool=Pool("max2d", grid=(7, 7))),
    ]
    assert len({space.identity(Arch((*plain, tail))) for tail in tails}) == len(tails)


@given(randoms)
def test_violations_name_the_block_and_a_reason_on_one_line(rng):
    space = random_space(rng)
    for reason in space.violations(random_arch(rng, space)):
        place, text = reason.split(": ", 1)
        assert 0 <= int(place.removeprefix("blocks[").removesuffix("]")) < space.shape.depth
        assert text
        assert "\n" not in text


@pytest.mark.parametrize("depth", [11, 13])
def test_an_arch_of_another_depth_is_outside_and_told_so(depth):
    space = SearchSpace(deit_small())
    assert space.violations(Arch.full(depth)) == [f"the arch has {depth} blocks, the backbone 12"]
    assert Arch.full(depth) not in space


@pytest.mark.parametrize(
    ("block", "reason"),
    [
        (BlockArch(skip=0.25), "the space lists no skip 0.25:map here"),
        (BlockArch(skip=0.5, selector="cls"), "the space lists no skip 0.5:cls here"),
        (BlockArch(pool=Pool("avg1d", stride=2)), "the space lists no pool avg1d/2 here"),
        (BlockArch(attention="shared"), "the space lists no attention shared here"),
    ],
)
def test_a_choice_that_is_not_listed_is_told_with_its_block(block, reason):
    values = {
        "pool": {"blocks": [6], "kinds": ["avg2d"], "grids": [7]},
        "share": {"blocks": [1]},
        "skip": {"blocks": [4], "ratios": [0.5]},
    }
    space = SearchSpace.from_dict(values, deit_small())
    arch = Arch((*[BlockArch()] * 4, block, *[BlockArch()] * 7))
    assert space.violations(arch) == [f"blocks[4]: {reason}"]


def test_every_broken_rule_of_an_arch_is_told_not_the_first_alone():
    space = SearchSpace.from_dict({"skip": {"ratios": [0.5]}}, deit_small())
    skip, plain = BlockArch(skip=0.5), BlockArch()
    reasons = space.violations(Arch((skip, plain, plain, skip, skip, *[plain] * 7)))
    places = [reason.split(":")[0] for reason in reasons]
    assert list(dict.fromkeys(places)) == ["blocks[0]", "blocks[4]"]


def test_a_choice_that_changes_nothing_is_dropped():
    space = SearchSpace.from_dict({"skip": {"ratios": [0.001, 0.5, 0.501]}}, deit_small())
    same_grid = BlockArch(pool=Pool("avg2d", grid=(14, 14)))
    blocks = [same_grid, BlockArch(skip=0.001, selector="cls"), BlockArch(skip=0.501)]
    canonical = space.canonical(Arch((*blocks, *[BlockArch()] * 9)))
    # 0.501 of 196 skips 98 tokens, as 0.5 does.
    assert canonical.blocks[:3] == (BlockArch(), BlockArch(), BlockArch(skip=0.5))
    assert canonical in space


@pytest.mark.parametrize("kind", ["avg1d", "conv1d"])
@pytest.mark.parametrize("first", [Pool("avg2d", grid=(1, 1)), Pool("avg1d", stride=2)])
def test_pooling_the_last_token_along_the_sequence_changes_nothing(kind, first):
    values = {"kinds": ["avg2d", "avg1d", "conv1d"], "grids": [1], "strides": [2]}
    shape = dataclasses.replace(deit_small(depth=2), grid=(1, 2))
    space = SearchSpace.from_dict({"pool": values}, shape)
    again = Arch((BlockArch(pool=first), BlockArch(pool=Pool(kind, stride=2))))
    assert again in space
    assert space.canonical(again) == Arch((BlockArch(pool=first), BlockArch()))


def test_the_selector_inside_a_run_counts_for_nothing():
    values = {"skip": {"ratios": [0.5], "selectors": ["cls"], "max_run": 2}}
    space = SearchSpace.from_dict(values, deit_small())
    start = BlockArch(skip=0.5, selector="cls")
    for name in ("map", "cls"):
        inside = BlockArch(skip=0.5, selector=name)
        arch = Arch((BlockArch(), start, inside, *[BlockArch()] * 9))
        assert arch in space
        assert space.canonical(arch).blocks[2].selector == "map"


@given(randoms)
def test_a_pickled_or_copied_space_is_equal_and_leaves_the_graph_behind(rng):
    space = random_space(rng)
    fresh = pickle.dumps(space)
    size, low = space.size(), space.mac_bands.low
    assert pickle.dumps(space) == fresh
    for twin in (pickle.loads(fresh), copy.deepcopy(space)):
        assert twin == space
        assert hash(twin) == hash(space)
        assert set(vars(twin)) == {"shape", "axes", "rules"}
        assert (twin.size(), twin.mac_bands.low) == (size, low)


@given(randoms, st.integers(1, 3))
def test_to_dict_gives_the_space_again(rng, times):
    space = random_space(rng)
    twin = space
    for _ in range(times):
        twin = SearchSpace.read(Reader(twin.to_dict(), ("space",)), twin.shape)
    assert twin == space
    assert twin.to_dict() == space.to_dict()
