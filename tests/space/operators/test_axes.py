"""The `space` section of a config: defaults, and wrong values told in one line with their place."""

import dataclasses

import numpy as np
import pytest
from space_toys import deit_small

from space import InputError, Pool, SearchSpace

SHAPE = deit_small()
POOL = {"kinds": ["avg2d"], "grids": [7]}
ONE_D = {"kinds": ["conv1d"], "strides": [2]}
SKIP = {"ratios": [0.5]}


def build(values, shape=SHAPE):
    return SearchSpace.from_dict(values, shape)


def test_the_example_of_the_config_is_read_as_written():
    space = build(
        {
            "pool": {
                "blocks": [3, 6, 9],
                "kinds": ["avg2d", "conv2d"],
                "grids": [10, [7, 7]],
                "max_pools": 3,
            },
            "share": {"blocks": "all", "max_run": 3},
            "skip": {
                "blocks": [5, 2],
                "ratios": [0.25, 0.5],
                "selectors": ["cls", "map"],
                "max_run": 2,
            },
        }
    )
    assert space.axes["pool"].blocks == (3, 6, 9)
    assert space.axes["pool"].choices == (
        Pool("avg2d", grid=(10, 10)),
        Pool("avg2d", grid=(7, 7)),
        Pool("conv2d", grid=(10, 10)),
        Pool("conv2d", grid=(7, 7)),
    )
    assert space.axes["share"].blocks == tuple(range(1, 12))
    assert space.axes["skip"].blocks == (2, 5)
    assert (space.axes["skip"].ratios, space.axes["skip"].selectors) == (
        (0.25, 0.5),
        ("cls", "map"),
    )
    assert space.axes["pool"].max_pools == space.axes["share"].max_run == 3
    assert space.axes["skip"].max_run == 2


def test_what_is_left_out_has_its_default():
    space = build({"pool": POOL, "share": {}, "skip": SKIP})
    assert space.axes["pool"].blocks == tuple(range(12))
    assert space.axes["share"].blocks == space.axes["skip"].blocks == tuple(range(1, 12))
    assert (
        space.axes["pool"].max_pools,
        space.axes["share"].max_run,
        space.axes["skip"].max_run,
    ) == (2, 1, 1)
    assert space.axes["skip"].selectors == ("map",)


def test_null_is_the_default_too():
    nulls = {"blocks": None, "max_run": None}
    space = build({"pool": POOL | {"strides": None}, "share": nulls, "skip": SKIP | nulls})
    assert space == build({"pool": POOL, "share": {}, "skip": SKIP})


@pytest.mark.parametrize("missing", ["pool", "share", "skip"])
@pytest.mark.parametrize("null", [True, False])
def test_a_missing_part_is_an_axis_that_is_not_searched(missing, null):
    values = {"pool": POOL, "share": {}, "skip": SKIP}
    values[missing] = None
    if not null:
        del values[missing]
    space = build(values)
    assert missing not in space.axes
    assert missing not in space.to_dict()
    rng = np.random.default_rng(0)
    blocks = [block for _ in range(50) for block in space.sample(rng).blocks]
    chosen = {
        "pool": any(block.pool for block in blocks),
        "share": any(block.shared for block in blocks),
        "skip": any(block.skip for block in blocks),
    }
    assert chosen == {"pool": True, "share": True, "skip": True} | {missing: False}


def test_grids_of_other_backbones_need_not_be_square():
    shape = dataclasses.replace(SHAPE, grid=(8, 20))
    space = build({"pool": {"kinds": ["conv2d"], "grids": [[4, 10], 8, [2, 5], 1]}}, shape)
    assert space.axes["pool"].grids == ((4, 10), (8, 8), (2, 5), (1, 1))
    reached = {state.tokens.grid for state in space.graph.levels[-1]}
    assert reached == {(8, 20), (4, 10), (2, 5)}


WRONG = [
    ({"pools": POOL}, "space.pools: unknown key; did you mean 'pool'?"),
    ({7: POOL}, "space.7: unknown key"),
    ([], "space: must be a mapping of pool, share, skip, rules, got []"),
    ({"share": 3}, "space.share: must be a mapping of blocks, max_run, got 3"),
    ({"share": {"maxrun": 3}}, "space.share.maxrun: unknown key; did you mean 'max_run'?"),
    ({"skip": SKIP | {"ratio": 1}}, "space.skip.ratio: unknown key; did you mean 'ratios'?"),
    ({"share": {"blocks": [0]}}, "space.share.blocks: block 0 can never make this choice"),
    ({"skip": SKIP | {"blocks": [3, 0]}}, "space.skip.blocks: block 0 can never make this"),
    ({"share": {"blocks": [12]}}, "space.share.blocks[0]: must be an integer of 0 to 11, got 12"),
    (
        {"pool": POOL | {"blocks": [-1]}},
        "space.pool.blocks[0]: must be an integer of 0 to 11, got",
    ),
    (
        {"share": {"blocks": [True]}},
        "space.share.blocks[0]: must be an integer of 0 to 11, got",
    ),
    ({"share": {"blocks": [1.0]}}, "space.share.blocks[0]: must be an integer of 0 to 11, got 1.0"),
    ({"share": {"blocks": [3, 5, 3]}}, "space.share.blocks[2]: 3 is listed twice"),
    ({"share": {"blocks": []}}, "space.share.blocks: must be a list, not empty, got []"),
    ({"share": {"blocks": "some"}}, "space.share.blocks: must be a list, not empty, got 'some'"),
    ({"share": {"blocks": 3}}, "space.share.blocks: must be a list, not empty, got 3"),
    ({"share": {"max_run": 0}}, "space.share.max_run: must be an integer of at least 1, got 0"),
    ({"share": {"max_run": True}}, "space.share.max_run: must be an integer of at least 1, got Tr"),
    (
        {"skip": SKIP | {"max_run": 1.5}},
        "space.skip.max_run: must be an integer of at least 1, got",
    ),
    ({"pool": POOL | {"max_pools": 0}}, "space.pool.max_pools: must be an integer of at least 1"),
    ({"skip": {}}, "space.skip: missing 'ratios'"),
    ({"skip": {"ratios": 0.5}}, "space.skip.ratios: must be a list, not empty, got 0.5"),
    ({"skip": {"ratios": [0.5, 0]}}, "space.skip.ratios[1]: must be a number in (0, 1), got 0"),
    ({"skip": {"ratios": [1.0]}}, "space.skip.ratios[0]: must be a number in (0, 1), got 1.0"),
    ({"skip": {"ratios": [True]}}, "space.skip.ratios[0]: must be a number in (0, 1), got True"),
    ({"skip": {"ratios": ["0.5"]}}, "space.skip.ratios[0]: must be a number in (0, 1), got '0.5'"),
    ({"skip": {"ratios": [float("nan")]}}, "space.skip.ratios[0]: must be a number in (0, 1), got"),
    ({"skip": {"ratios": [0.5, 0.5]}}, "space.skip.ratios[1]: 0.5 is listed twice"),
    (
        {"skip": SKIP | {"selectors": ["maps"]}},
        "space.skip.selectors[0]: value must be one of map, cls, random, got 'maps'; did ",
    ),
    ({"skip": SKIP | {"selectors": ["cls", "cls"]}}, "space.skip.selectors[1]: 'cls' is listed tw"),
    ({"skip": SKIP | {"selectors": "map"}}, "space.skip.selectors: must be a list, not empty, got"),
    ({"pool": {"grids": [7]}}, "space.pool: missing 'kinds'"),
    (
        {"pool": {"kinds": ["avg3d"], "grids": [7]}},
        "space.pool.kinds[0]: value must be one of avg2",
    ),
    ({"pool": {"kinds": [3], "grids": [7]}}, "space.pool.kinds[0]: value must be one of avg2d"),
    ({"pool": {"kinds": ["avg2d", "conv2d"]}}, "space.pool.grids: needed for 2d kinds"),
    (
        {"pool": {"kinds": ["avg1d"]}},
        "space.pool.strides: needed for 1d kinds, and for no others; su",
    ),
    ({"pool": POOL | {"strides": [2]}}, "space.pool.strides: needed for 1d kinds, and for no o"),
    ({"pool": ONE_D | {"grids": [7]}}, "space.pool.grids: needed for 2d kinds, and for no o"),
    (
        {"pool": {"kinds": ["avg1d"], "grids": [7]}},
        "space.pool.grids: needed for 2d kinds, and for no others; avg1d needs strides, such",
    ),
    ({"pool": ONE_D | {"strides": [3]}}, "space.pool.strides: conv1d has stride 2 only, got [3]"),
    ({"pool": ONE_D | {"strides": [2, 3]}}, "space.pool.strides: conv1d has stride 2 only, got [2"),
    ({"pool": ONE_D | {"strides": [1]}}, "space.pool.strides[0]: must be an integer of at least 2"),
    (
        {"pool": POOL | {"grids": [14]}},
        "space.pool.grids[0]: must be smaller than the backbone's gr",
    ),
    ({"pool": POOL | {"grids": [7, [15, 7]]}}, "space.pool.grids[1]: must be smaller than the bac"),
    (
        {"pool": POOL | {"grids": [[7, 15]]}},
        "space.pool.grids[0]: must be smaller than the backbon",
    ),
    (
        {"pool": POOL | {"grids": [0]}},
        "space.pool.grids[0]: must be an integer of at least 1, got 0",
    ),
    ({"pool": POOL | {"grids": [True]}}, "space.pool.grids[0]: must be a side or [height, width]"),
    ({"pool": POOL | {"grids": [[7, 7, 7]]}}, "space.pool.grids[0]: must be a side or [height, wi"),
    ({"pool": POOL | {"grids": [[7, "7"]]}}, "space.pool.grids[0]: must be an integer of at least"),
    ({"pool": POOL | {"grids": [7, [7, 7]]}}, "space.pool.grids[1]: [7, 7] is listed twice"),
]


@pytest.mark.parametrize(("values", "message"), WRONG)
def test_a_wrong_value_is_told_with_its_place_on_one_line(values, message):
    with pytest.raises(InputError) as caught:
        build(values)
    assert str(caught.value).startswith(message)
    assert len(str(caught.value)) < 300
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", ["x" * 10**6, [["y"] * 10**4] * 10**4, {"a\n": "\n" * 999}])
def test_a_refused_value_is_shown_on_one_short_line(value):
    sections = [
        value,
        {"share": value},
        {"share": {"max_run": value}},
        {"skip": {"ratios": [value]}},
        {"skip": SKIP | {"selectors": [value]}},
        {"pool": POOL | {"grids": [value]}},
    ]
    for section in sections:
        with pytest.raises(InputError) as caught:
            build(section)
        assert len(str(caught.value)) < 300
        assert "\n" not in str(caught.value)


def test_a_space_belongs_to_its_backbone():
    values = {"share": {"blocks": "all"}}
    assert build(values).axes["share"].blocks[-1] == 11
    assert build(values, deit_small(depth=24)).axes["share"].blocks[-1] == 23


def test_a_convolution_that_no_listed_grid_suits_is_refused():
    with pytest.raises(InputError, match=r"space\.pool\.grids: conv2d halves.*would be 7x7"):
        build({"pool": {"kinds": ["conv2d"], "grids": [10, [7, 5]]}})
    assert build({"pool": {"kinds": ["conv2d"], "grids": [10, 5]}}).size() == 1
