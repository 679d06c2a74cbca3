"""Each validity rule by small examples, limits included."""

from dataclasses import replace

import pytest
from space_toys import deit_small

from space import Arch, BlockArch, InputError, Pool, SearchSpace, macs
from space.arch import POOL_KINDS
from space.operators.skipping import count_kept
from space.operators.walk import canonical_block, initial_state, violations

VALUES = {
    "pool": {
        "kinds": ["avg2d", "conv2d", "avg1d", "conv1d"],
        "grids": [10, 7, 4],
        "strides": [2],
        "max_pools": 2,
    },
    "share": {"max_run": 2},
    "skip": {"ratios": [0.25, 0.5], "selectors": ["map", "cls"], "max_run": 2},
}
OWN, SHARED = BlockArch(), BlockArch(attention="shared")
SKIP, SKIP_SHARED = BlockArch(skip=0.5), BlockArch(skip=0.5, attention="shared")
LESS = BlockArch(skip=0.25)


def pool(kind, grid=None, stride=None, **rest):
    return BlockArch(pool=Pool(kind, grid=grid and (grid, grid), stride=stride), **rest)


AVG10, AVG7, AVG4 = pool("avg2d", 10), pool("avg2d", 7), pool("avg2d", 4)
CONV10, CONV7, CONV4 = pool("conv2d", 10), pool("conv2d", 7), pool("conv2d", 4)
AVG1D, CONV1D = pool("avg1d", stride=2), pool("conv1d", stride=2)


@pytest.fixture(scope="module")
def space():
    return SearchSpace.from_dict(VALUES, deit_small(depth=6))


def reasons(space, blocks):
    return space.violations(Arch((*blocks, *[OWN] * (6 - len(blocks)))))


VALID = {
    "shared needs the same tokens": [
        (OWN, SHARED),
        (OWN, AVG10, SHARED),
        (OWN, SKIP, SKIP_SHARED),
        (AVG10, SHARED, OWN, SKIP, SKIP_SHARED),
    ],
    "a run starts after a block that sees all and attends by itself": [
        (OWN, SKIP),
        (AVG10, SKIP),
        (OWN, SHARED, OWN, SKIP),
        (OWN, OWN, OWN, OWN, OWN, SKIP),
    ],
    "a run keeps its tokens and ends": [
        (OWN, SKIP, SKIP),
        (OWN, SKIP, OWN, LESS),
        (OWN, SKIP, SKIP, OWN, SKIP, SKIP),
        (OWN, SKIP, AVG10, SKIP),
        (OWN, OWN, OWN, OWN, LESS, LESS),
    ],
    "shared runs are short": [
        (OWN, SHARED, SHARED, OWN, SHARED, SHARED),
        (OWN, SKIP, SKIP_SHARED, OWN, SHARED, SHARED),
    ],
    "pools shrink": [
        (AVG10, AVG7),
        (CONV7, CONV4),
        (AVG7, CONV4),
        (AVG1D, CONV1D),
        (AVG7, AVG1D),
        (OWN, AVG10, OWN, OWN, OWN, AVG4),
    ],
}
INVALID = [
    ((SHARED,), 0, "block 0 has no block before it"),
    ((OWN, pool("avg2d", 10, attention="shared")), 1, "saw exactly the same tokens"),
    ((OWN, SKIP_SHARED), 1, "saw exactly the same tokens"),
    ((OWN, SKIP, SHARED), 2, "saw exactly the same tokens"),
    ((SKIP,), 0, "block 0 cannot skip"),
    ((OWN, pool("avg2d", 10, skip=0.5)), 1, "cannot both pool and skip"),
    ((OWN, SHARED, SKIP), 2, "starts only after a block that attends by itself"),
    ((OWN, SKIP, LESS), 2, "skip 0.25 differs from the ratio"),
    ((OWN, SKIP, pool("avg2d", 10, skip=0.5)), 2, "cannot both pool and skip"),
    ((OWN, SKIP, SKIP, SKIP), 3, "more than 2 skipping blocks in a row (skip.max_run)"),
    ((OWN, SHARED, SHARED, SHARED), 3, "more than 2 shared blocks in a row (share.max_run)"),
    ((AVG7, AVG10), 1, "pool avg2d:10x10 is not smaller than the grid 7x7"),
    ((AVG10, AVG7, AVG4), 2, "more than 2 poolings (pool.max_pools)"),
    ((AVG1D, AVG7), 1, "pool avg2d:7x7 needs a token grid"),
    ((CONV1D, CONV7), 1, "pool conv2d:7x7 needs a token grid"),
    ((CONV10,), 0, "must halve the grid 14x14 to 7x7"),
    ((AVG10, CONV7), 1, "must halve the grid 10x10 to 5x5"),
]


@pytest.mark.parametrize("rule", VALID)
def test_archs_that_keep_the_rule_are_inside(space, rule):
    for blocks in VALID[rule]:
        assert reasons(space, blocks) == []


@pytest.mark.parametrize(("blocks", "at", "reason"), INVALID)
def test_archs_that_break_a_rule_are_told_the_block_and_the_reason(space, blocks, at, reason):
    found = [text for text in reasons(space, blocks) if reason in text]
    assert len(found) == 1
    assert found[0].startswith(f"blocks[{at}]: ")


@pytest.mark.parametrize(("blocks", "at", "reason"), INVALID)
def test_costs_refuse_what_breaks_a_rule_and_need_no_limits(space, blocks, at, reason):
    arch = Arch((*blocks, *[OWN] * (6 - len(blocks))))
    if reason.startswith("more than"):
        assert macs(arch, space.shape) > 0
        return
    with pytest.raises(InputError) as caught:
        macs(arch, space.shape)
    assert str(caught.value).startswith(f"blocks[{at}]: ")
    assert reason in str(caught.value)


def test_a_run_may_start_right_after_a_run_only_with_a_full_block_between(space):
    assert reasons(space, (OWN, SKIP, OWN, SKIP)) == []
    assert reasons(space, (OWN, LESS, SKIP)) != []
    assert reasons(space, (OWN, SKIP, SHARED, SKIP)) != []


def test_ratios_that_keep_the_same_tokens_are_one_ratio_inside_a_run():
    space = SearchSpace.from_dict(
        {"skip": {"ratios": [0.5, 0.501, 0.51], "max_run": 2}}, deit_small(depth=3)
    )
    # Of 196 tokens 0.5 and 0.501 skip 98, 0.51 skips 99.
    assert Arch((OWN, BlockArch(skip=0.501), BlockArch(skip=0.5))) in space
    assert Arch((OWN, BlockArch(skip=0.501), BlockArch(skip=0.51))) not in space


@pytest.mark.parametrize(
    ("skip", "tokens", "k"),
    [
        (0.29, 100, 71),  # 0.29 * 100 is 28.999999999999996 in binary
        (0.57, 100, 43),
        (0.58, 100, 42),
        (0.07, 100, 93),
        (0.1, 30, 27),
        (0.3, 10, 7),
        (0.0, 196, 196),
        (0.001, 196, 196),
        (0.5, 1, 1),
        (0.5, 197, 99),
        (0.999, 196, 1),
        (0.9999999999999999, 196, 1),
        (1e-320, 196, 196),
    ],
)
def test_the_kept_tokens_are_exact_decimals(skip, tokens, k):
    assert count_kept(skip, tokens) == k


def at(grid):
    """What block 0 finds on a grid."""
    return initial_state(replace(deit_small(), grid=grid))


@pytest.mark.parametrize("kind", POOL_KINDS)
@pytest.mark.parametrize("side", [1, 2, 3, 4, 5])
def test_pools_are_allowed_exactly_where_they_shrink(kind, side):
    """Every target, on a grid of `side` x 3: compared with the definition, written out."""
    state = at((side, 3))
    for height in range(1, 7):
        for width in range(1, 5):
            if kind.endswith("2d"):
                target = (height, width)
                block = BlockArch(pool=Pool(kind, grid=target))
                shrinks = height <= side and width <= 3 and target != (side, 3)
                right = shrinks and (kind != "conv2d" or target == ((side + 1) // 2, 2))
            else:
                stride = 2 if kind == "conv1d" else height + 1
                block = BlockArch(pool=Pool(kind, stride=stride))
                right = True
            assert (violations(0, state, block) == []) == right


@pytest.mark.parametrize("kind", POOL_KINDS)
def test_the_last_token_is_never_pooled_away(kind):
    target = {"grid": (1, 1)} if kind.endswith("2d") else {"stride": 2}
    assert canonical_block(at((1, 1)), BlockArch(pool=Pool(kind, **target)), {}) == BlockArch()


@pytest.mark.parametrize("most", [1, 2, 5])
@pytest.mark.parametrize(
    ("section", "block"),
    [
        ({"pool": {"kinds": ["avg1d"], "strides": [2], "max_pools": None}}, AVG1D),
        ({"share": {"max_run": None}}, SHARED),
        ({"skip": {"ratios": [0.5], "max_run": None}}, SKIP),
    ],
)
def test_limits_allow_their_own_number_and_no_more(most, section, block):
    values = {
        name: {key: most if value is None else value for key, value in axis.items()}
        for name, axis in section.items()
    }
    space = SearchSpace.from_dict(values, deit_small(depth=most + 2))
    inside = (OWN, *[block] * most, OWN)
    assert Arch(inside) in space
    (reason,) = space.violations(Arch((OWN, *[block] * (most + 1))))
    assert reason.startswith(f"blocks[{most + 1}]: more than {most} ")
