"""Values of Pool, BlockArch and Arch alone: what is taken, what is refused, in which words."""

import dataclasses
import pickle

import pytest

from space import Arch, BlockArch, InputError, Pool


@pytest.mark.parametrize("kind", ["avg2d", "max2d", "conv2d"])
def test_a_2d_pool_has_a_grid_and_says_so(kind):
    pool = Pool(kind, grid=(7, 5))
    assert (pool.grid, pool.stride) == ((7, 5), None)
    assert pool.learned == (kind == "conv2d")
    assert str(pool) == f"{kind}:7x5"


@pytest.mark.parametrize("kind", ["avg1d", "max1d", "conv1d"])
def test_a_1d_pool_has_a_stride_and_says_so(kind):
    pool = Pool(kind, stride=2)
    assert (pool.grid, pool.stride) == (None, 2)
    assert pool.learned == (kind == "conv1d")
    assert str(pool) == f"{kind}/2"


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        ("avg2", {"grid": (7, 7)}, "pool kind must be one of avg2d, .* did you mean 'avg2d'"),
        (None, {"stride": 2}, "pool kind must be one of .*, got None"),
        (["avg2d"], {"grid": (7, 7)}, r"pool kind must be one of .*, got \['avg2d'\]"),
        ("avg2d", {}, "pool avg2d needs grid=.* got grid=None, stride=None"),
        ("avg2d", {"grid": (7, 7), "stride": 2}, "and no stride"),
        ("avg2d", {"grid": 7}, "got grid=7"),
        ("avg2d", {"grid": [7, 7]}, "needs grid"),
        ("avg2d", {"grid": (7,)}, "needs grid"),
        ("avg2d", {"grid": (7, 0)}, "of positive integers"),
        ("avg2d", {"grid": (7, True)}, "of positive integers"),
        ("avg2d", {"grid": (7, 7.0)}, "of positive integers"),
        ("avg1d", {}, "pool avg1d needs a stride of at least 2 and no grid"),
        ("avg1d", {"grid": (7, 7)}, "no grid"),
        ("avg1d", {"grid": (7, 7), "stride": 2}, "no grid"),
        ("avg1d", {"stride": 1}, "at least 2"),
        ("avg1d", {"stride": True}, "at least 2"),
        ("avg1d", {"stride": 2.0}, "at least 2"),
        (
            "conv1d",
            {"stride": 3},
            "pool conv1d needs stride=2 and no grid, got",
        ),
    ],
)
def test_a_pool_that_is_not_right_is_refused(kind, values, message):
    with pytest.raises(InputError, match=message):
        Pool(kind, **values)


def test_the_default_block_is_the_plain_one():
    assert BlockArch() == BlockArch(pool=None, skip=0.0, selector="map", attention="own")
    assert not BlockArch().shared
    assert BlockArch(attention="shared").shared


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"pool": "avg2d:7x7"}, "pool must be a Pool or None, got 'avg2d:7x7'"),
        ({"skip": True}, r"skip must lie in \[0, 1\), got True"),
        ({"skip": "0.5"}, r"skip must lie in \[0, 1\), got '0.5'"),
        ({"skip": None}, "skip must lie in"),
        ({"skip": 1}, r"skip must lie in \[0, 1\), got 1"),
        ({"skip": 1.5}, r"skip must lie in \[0, 1\), got 1.5"),
        ({"skip": -0.1}, "skip must lie in"),
        ({"skip": float("nan")}, r"skip must lie in \[0, 1\), got nan"),
        ({"skip": float("inf")}, "skip must lie in"),
        (
            {"selector": "maps"},
            "selector must be one of map, cls, random, got 'maps'; did you mean 'map'",
        ),
        ({"attention": "share"}, "attention must be one of own, shared, .*did you mean 'shared'"),
        ({"attention": None}, "attention must be one of own, shared, got None"),
    ],
)
def test_a_block_that_is_not_right_is_refused(values, message):
    with pytest.raises(InputError, match=message):
        BlockArch(**values)


@pytest.mark.parametrize("blocks", [(), [], (None,), (BlockArch(), "own"), (BlockArch,)])
def test_an_arch_needs_blocks(blocks):
    with pytest.raises(InputError, match="blocks must be one BlockArch or more, got "):
        Arch(blocks)


def test_an_arch_is_immutable_hashable_and_equal_by_value():
    arch = Arch([BlockArch(), BlockArch(skip=0.5)])
    assert arch == Arch((BlockArch(), BlockArch(skip=0.5)))
    assert len({arch, Arch(arch.blocks), Arch.full(2)}) == 2
    assert arch.depth == 2
    assert isinstance(arch.blocks, tuple)
    for value, name in ((arch, "blocks"), (arch.blocks[0], "skip")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, name, None)


def test_an_arch_survives_pickling():
    arch = Arch((BlockArch(), BlockArch(pool=Pool("conv2d", grid=(7, 7))), BlockArch(skip=0.25)))
    assert pickle.loads(pickle.dumps(arch)) == arch
    assert hash(pickle.loads(pickle.dumps(arch))) == hash(arch)


@pytest.mark.parametrize("value", ["x" * 10**6, ["y"] * 10**5, {"a\nb": "\n" * 999}, b"\n" * 9999])
def test_a_refused_value_is_shown_on_one_short_line(value):
    for make in (
        lambda: Pool(value, grid=(1, 1)),
        lambda: Pool("avg2d", grid=value, stride=value),
        lambda: BlockArch(pool=value),
        lambda: BlockArch(skip=value),
        lambda: BlockArch(selector=value),
        lambda: Arch((value,)),
    ):
        with pytest.raises(InputError) as caught:
            make()
        assert len(str(caught.value)) < 300
        assert len(str(caught.value).splitlines()) == 1
