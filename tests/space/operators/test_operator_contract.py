"""What every operator must keep: the registered ones, and one that is defined in a test file."""

import json
from contextlib import nullcontext

import numpy as np
import pytest
from space_toys import deit_small
from toy_operator import Thin, registered_in_space

from space import Arch, BlockArch, Genes, Pool, SearchSpace
from space.arch_file import block_to_dict, read_blocks
from space.cost import block_cost
from space.operators.base import BlockCost
from space.operators.registry import operator, operators
from space.operators.skipping import Skip
from space.operators.walk import advance, initial_state, trace, turns
from space.utils.reader import Reader

# A section of a config for each operator; whoever adds one adds it here.
SECTIONS = {
    "pool": {
        "kinds": ["avg2d", "max2d", "conv2d", "avg1d", "max1d", "conv1d"],
        "grids": [7, [5, 4]],
        "strides": [2],
        "max_pools": 2,
    },
    "share": {"max_run": 2},
    "skip": {"ratios": [0.25, 0.29, 0.75], "selectors": ["map", "cls", "random"], "max_run": 2},
    "thin": {},
}
SHAPE = deit_small(depth=5)


def test_every_operator_is_under_contract():
    assert {each.name for each in operators()} | {"thin"} == set(SECTIONS)


@pytest.fixture(params=SECTIONS)
def one(request):
    """An operator, and a space of it alone."""
    known = request.param in {each.name for each in operators()}
    with nullcontext() if known else registered_in_space(Thin()):
        section = {request.param: SECTIONS[request.param]}
        yield operator(request.param), SearchSpace.from_dict(section, SHAPE)


def drawn(space, count=60):
    rng = np.random.default_rng(0)
    return [space.sample(rng) for _ in range(count)]


def test_its_axis_is_written_as_it_is_read(one):
    each, space = one
    axis = space.axes[each.name]
    section = json.loads(json.dumps(axis.to_dict()))
    assert each.read_axis(Reader(section, ("space", each.name)), SHAPE) == axis
    assert each.plain not in axis.choices
    assert len(set(axis.choices)) == len(axis.choices) > 0
    assert hash(axis) == hash(each.read_axis(Reader(section), SHAPE))


def test_its_choice_has_a_place_of_its_own_in_a_block(one):
    each, space = one
    for choice in (each.plain, *space.axes[each.name].choices):
        block = each.put(BlockArch(), choice)
        assert each.choice(block) == choice
        assert (block == BlockArch()) == (choice == each.plain)
        assert each.put(block, each.plain) == BlockArch()
        for other in operators():
            if other is not each:
                assert other.choice(block) == other.plain


def test_its_choice_leaves_those_of_others_alone(one):
    each, space = one
    # Values that each other operator can tell from its plain one, without rules.
    others = {
        "pool": Pool("avg1d", stride=2),
        "skip": Skip(0.5, "cls"),
        "share": "shared",
        "thin": True,
    }
    with nullcontext() if each.name == "thin" else registered_in_space(Thin()):
        block = BlockArch()
        for other in operators():
            block = other.put(block, others[other.name])
        for choice in (*space.axes[each.name].choices, each.plain):
            block = each.put(block, choice)
            assert each.choice(block) == choice
            for other in operators():
                if other is not each:
                    assert other.choice(block) == others[other.name]


def test_texts_and_files_tell_choices_apart(one):
    each, space = one
    choices = (each.plain, *space.axes[each.name].choices)
    assert len({each.text(choice) for choice in choices}) == len(choices)
    assert each.to_dict(each.plain) == {}
    for choice in choices:
        arch = Arch((each.put(BlockArch(), choice),))
        plain = json.loads(json.dumps([block_to_dict(block) for block in arch.blocks]))
        assert set(plain[0]) <= set(each.keys)
        assert read_blocks(Reader(plain, ("blocks",))) == arch


def test_the_plain_choice_changes_no_token_and_is_always_allowed(one):
    each, space = one
    for level in space.graph.levels[:-1]:
        for state in level:
            turn = next(t for t in turns(state, BlockArch()) if t.operator is each)
            _, tokens, own, choice = turn
            assert choice == each.plain
            assert each.violation(1, tokens, own, choice, None) is None
            after, _ = each.advance(tokens, own, choice)
            assert (after.patches, after.grid) == (tokens.patches, tokens.grid)
            if each.kind != "attention":
                assert each.cost(tokens, own, choice, SHAPE) == BlockCost()


def test_canonical_choices_stay_as_they_are(one):
    _, space = one
    for arch in drawn(space):
        assert space.canonical(arch) == arch
        states, blocks = trace(arch, SHAPE)
        assert blocks == arch.blocks
        for state, block in zip(states, blocks, strict=False):
            assert advance(state, block) in states


def test_tokens_never_grow_and_one_is_left(one):
    _, space = one
    for arch in drawn(space):
        counts = [state.tokens.patches for state in trace(arch, SHAPE).states]
        assert counts == sorted(counts, reverse=True)
        assert counts[-1] >= 1
        for state in trace(arch, SHAPE).states:
            assert 0 <= state.tokens.selected < state.tokens.patches
            assert state.tokens.grid is None or np.prod(state.tokens.grid) == state.tokens.patches


def test_costs_are_whole_numbers_and_terms_hold_all_macs(one):
    _, space = one
    for arch in drawn(space):
        states, blocks = trace(arch, SHAPE)
        for state, block in zip(states, blocks, strict=False):
            cost = block_cost(state, block, SHAPE)
            assert all(type(value) is int and value >= 0 for value in cost[:5])
            assert sum(macs for _, macs in cost.terms) == cost.macs
            assert all(0 < term.left <= term.tokens for term, _ in cost.terms)
            assert len({str(term) for term, _ in cost.terms}) == len(cost.terms)


def test_different_archs_have_different_effects(one):
    _, space = one
    archs = set(drawn(space, 300))
    assert len({space.identity(arch) for arch in archs}) == len(archs)
    assert initial_state(SHAPE) == initial_state(SHAPE)


def test_every_assignment_of_its_genes_is_an_arch_of_the_space(one):
    each, space = one
    genes, rng = Genes(space), np.random.default_rng(1)
    assert {gene.split(".")[0] for gene in genes.categories} == {each.field}
    for _ in range(60):
        assigned = {gene: str(rng.choice(values)) for gene, values in genes.categories.items()}
        arch = genes.decode(assigned)
        assert arch in space
        assert genes.decode(genes.encode(arch)) == arch


def test_hand_made_families_are_of_its_own_choices(one):
    each, space = one
    ends = [state.counters[operators().index(each)] for state in space.graph.levels[-1]]
    axis = space.axes[each.name]
    for name, placings in each.families(axis, SHAPE.depth, ends).items():
        assert name.islower()
        for placing in placings:
            assert all(choice in axis.choices for choice in placing.values())
    for placings in each.families(None, SHAPE.depth, [each.start()]).values():
        assert not any(placings)


def test_it_is_told_in_words(one):
    each, space = one
    assert each.title
    assert each.caption[0].isupper()
    for arch in drawn(space, 20):
        states, blocks = trace(arch, SHAPE)
        for before, after, block in zip(states, states[1:], blocks, strict=False):
            choice = each.choice(block)
            assert isinstance(each.describe(choice), str)
            if choice != each.plain:
                assert each.describe(choice)
                assert isinstance(each.label(before.tokens, after.tokens, choice), str)


def test_choices_of_several_operators_from_outside_stand_beside_each_other():
    class Other(Thin):
        name = field = "other"

    with registered_in_space(Thin()), registered_in_space(Other()):
        thin, other = operator("thin"), operator("other")
        both = other.put(thin.put(BlockArch(skip=0.5), True), True)
        assert (thin.choice(both), other.choice(both), both.skip) == (True, True, 0.5)
        assert other.put(both, False) == thin.put(BlockArch(skip=0.5), True)
        assert thin.put(other.put(both, False), False) == BlockArch(skip=0.5)
