"""The plan of an arch: who needs whose maps, what selects, where runs end."""

from itertools import pairwise

import pytest
from supernet_toys import OWN, SHARED, drawn, first, pool, skip, some_archs, supernet_of

from space import Arch, InputError
from supernet.models.plan import plan


def shape():
    return supernet_of("class token").shape


def test_the_full_arch_wants_nothing():
    for step in plan(Arch.full(6), shape()):
        assert (step.keeps_map, step.scores) == (False, None)
        assert (step.pool, step.selector, step.shared, step.ends_run) == (None, None, False, False)
        assert step.grid == step.grid_after == (5, 5)


def test_maps_are_made_where_a_block_reuses_them():
    steps = plan(first(OWN, SHARED, SHARED, OWN, SHARED), shape())
    assert [step.keeps_map for step in steps] == [True, True, False, True, False, False]
    assert [step.shared for step in steps] == [False, True, True, False, True, False]


def test_selectors_ask_the_block_before_the_run_alone():
    steps = plan(first(OWN, skip(), skip(), OWN, skip(selector="cls")), shape())
    assert [step.scores for step in steps] == ["map", None, None, "cls", None, None]
    assert [step.selector for step in steps] == [None, "map", None, None, "cls", None]
    assert [step.ends_run for step in steps] == [False, False, True, False, True, False]
    assert [step.keep for step in steps] == [0, 13, 13, 0, 13, 0]


def test_a_run_may_end_with_the_last_block():
    steps = plan(Arch((OWN, OWN, OWN, OWN, skip(), skip(shared=True))), shape())
    assert [step.ends_run for step in steps] == [False] * 5 + [True]
    assert [step.keeps_map for step in steps] == [False] * 4 + [True, False]


def test_grids():
    steps = plan(
        first(OWN, pool("conv2d", (3, 3)), OWN, pool("avg1d", 2), pool("max1d", 2)), shape()
    )
    assert [step.grid for step in steps] == [(5, 5), (5, 5), (3, 3), (3, 3), None, None]
    assert [step.grid_after for step in steps] == [(5, 5), (3, 3), (3, 3), None, None, None]


def test_a_choice_that_changes_nothing_plans_nothing():
    loose = first(pool("avg2d", (5, 5)), skip(0.01), OWN, skip(0.5), skip(0.5, "cls"))
    assert plan(loose, shape()) == plan(first(OWN, OWN, OWN, skip(0.5), skip(0.5)), shape())


def test_what_is_wanted_is_used_by_the_next_block():
    space = supernet_of("class token").space
    for arch in some_archs(space, 300):
        steps = plan(arch, space.shape)
        for step, after in pairwise(steps):
            assert step.keeps_map == after.shared
            assert step.scores == after.selector
        assert (steps[-1].keeps_map, steps[-1].scores) == (False, None)


def test_runs_end_once_for_each_selection():
    space = supernet_of("class token").space
    for arch in drawn(space, 300, seed=5):
        inside = False
        for step, block in zip(plan(arch, space.shape), arch.blocks, strict=True):
            inside = inside or step.selector is not None
            assert inside == (block.skip > 0)
            assert inside or not step.ends_run
            inside = inside and not step.ends_run
        assert not inside


@pytest.mark.parametrize(
    ("arch", "reason"),
    [
        (Arch.full(5), "the arch has 5 blocks, the backbone 6"),
        (first(SHARED), r"blocks\[0\]: block 0 has no block before it"),
        (first(OWN, skip(), SHARED), r"blocks\[2\]: .* saw exactly the same tokens"),
        (first(pool("avg1d", 2), pool("avg2d", (2, 2))), r"blocks\[1\]: .*there is none"),
    ],
)
def test_an_arch_that_breaks_a_rule_has_no_plan(arch, reason):
    with pytest.raises(InputError, match=reason):
        plan(arch, shape())
