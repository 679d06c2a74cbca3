"""The plan of an arch: who needs whose maps, what selects, where runs end."""

from itertools import pairwise

import pytest
from supernet_toys import OWN, SHARED, drawn, first, pool, skip, some_archs, supernet_of

from space import Arch, InputError
from space.operators.walk import trace
from space.state import Tokens
from supernet.models.plan import Step, plan


def shape():
    return supernet_of("class token").shape


def needs(step):
    """What a block is asked for, in the words of the plan."""
    return [need for need, _ in step.needs]


def starts(step):
    """Whether a run of blocks that some tokens bypass starts."""
    return any(not each.before.selected and each.after.selected for each in step.actions)


def test_the_full_arch_wants_nothing():
    for step in plan(Arch.full(6), shape()):
        assert step == Step((), (), False, Tokens((5, 5), 25, own_maps=True))


def test_maps_are_made_where_a_block_reuses_them():
    steps = plan(first(OWN, SHARED, SHARED, OWN, SHARED), shape())
    assert [needs(step) for step in steps] == [["maps"], ["maps"], [], ["maps"], [], []]
    assert [step.after.own_maps for step in steps] == [True, False, False, True, False, True]


def test_selectors_ask_the_block_before_the_run_alone():
    steps = plan(first(OWN, skip(), skip(), OWN, skip(selector="cls")), shape())
    assert [needs(step) for step in steps] == [["read_logits"], [], [], ["read_rows"], [], []]
    assert [starts(step) for step in steps] == [False, True, False, False, True, False]
    assert [step.restores for step in steps] == [False, False, True, False, True, False]
    assert [step.after.selected for step in steps] == [0, 13, 13, 0, 13, 0]


def test_a_run_may_end_with_the_last_block():
    steps = plan(Arch((OWN, OWN, OWN, OWN, skip(), skip(shared=True))), shape())
    assert [step.restores for step in steps] == [False] * 5 + [True]
    assert [needs(step) for step in steps] == [[]] * 3 + [["read_logits"], ["maps"], []]


def test_grids():
    steps = plan(
        first(OWN, pool("conv2d", (3, 3)), OWN, pool("avg1d", 2), pool("max1d", 2)), shape()
    )
    assert [step.after.grid for step in steps] == [(5, 5), (3, 3), (3, 3), None, None, None]
    pools = [action for step in steps for action in step.actions]
    assert [action.before.grid for action in pools] == [(5, 5), (3, 3), None]
    assert [action.after.patches for action in pools] == [9, 5, 3]


def test_a_choice_that_changes_nothing_plans_nothing():
    loose = first(pool("avg2d", (5, 5)), skip(0.01), OWN, skip(0.5), skip(0.5, "cls"))
    assert plan(loose, shape()) == plan(first(OWN, OWN, OWN, skip(0.5), skip(0.5)), shape())


def test_what_is_wanted_is_used_by_the_next_block():
    space = supernet_of("class token").space
    kinds = {"map": ["read_logits"], "cls": ["read_rows"], "random": []}
    for arch in some_archs(space, 300):
        steps = plan(arch, space.shape)
        for i, (step, after) in enumerate(pairwise(steps)):
            following = trace(arch, space.shape).blocks[i + 1]
            wanted = kinds[following.selector] if starts(after) else []
            assert needs(step) == wanted + ["maps"] * following.shared
        assert needs(steps[-1]) == []


def test_archs_that_begin_alike_have_plans_that_begin_alike():
    """Whatever a later block chooses, if it needs for the same: what they leave can be shared."""
    quarter, half = (first(OWN, OWN, skip(ratio), OWN) for ratio in (0.25, 0.5))
    cls = first(OWN, OWN, skip(0.5, "cls"), OWN)
    assert plan(quarter, shape())[:2] == plan(half, shape())[:2]
    assert plan(quarter, shape())[2] != plan(half, shape())[2]
    assert plan(cls, shape())[:1] == plan(half, shape())[:1]
    assert plan(cls, shape())[1] != plan(half, shape())[1]
    # Nothing is needed for a random choice, so that even the block before it can be shared.
    by_chance, plain = first(OWN, OWN, skip(0.5, "random"), OWN), first()
    assert plan(by_chance, shape())[:2] == plan(plain, shape())[:2]
    assert plan(by_chance, shape())[2] != plan(half, shape())[2]


def test_runs_end_once_for_each_selection():
    space = supernet_of("class token").space
    for arch in drawn(space, 300, seed=5):
        inside = False
        for step, block in zip(plan(arch, space.shape), arch.blocks, strict=True):
            inside = inside or starts(step)
            assert inside == (block.skip > 0)
            assert inside or not step.restores
            inside = inside and not step.restores
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
