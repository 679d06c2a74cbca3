"""Genes: every assignment is an arch of the space, every arch of the space has an assignment."""

import random

import pytest
import space_reference as reference
from hypothesis import given
from space_toys import deit_small, random_arch, random_genes, random_space, randoms, seeded_spaces

from space import Arch, BlockArch, Genes, InputError, Pool, SearchSpace


@given(randoms)
def test_every_assignment_decodes_to_a_canonical_arch_of_the_space(rng):
    space = random_space(rng)
    arch = Genes(space).decode(random_genes(rng, space))
    assert arch in space
    assert reference.canonical(arch, space) == arch
    assert reference.valid(arch, space)


@given(randoms)
def test_genes_that_are_left_out_take_their_plain_value(rng):
    space = random_space(rng)
    genes = random_genes(rng, space)
    partial = {gene: value for gene, value in genes.items() if rng.random() < 0.5}
    plain = {gene: values[0] for gene, values in Genes(space).categories.items()}
    assert Genes(space).decode(partial) == Genes(space).decode(plain | partial)
    assert Genes(space).decode({}) == Genes(space).decode(plain) == space.largest()


def test_every_arch_of_a_space_has_genes_that_decode_to_it():
    for space in seeded_spaces(200, most=400):
        genes = Genes(space)
        for rank in range(space.size()):
            arch = space.graph.path(rank)
            encoded = genes.encode(arch)
            assert list(encoded) == list(genes.categories)
            assert genes.decode(encoded) == arch


def test_archs_that_are_not_canonical_decode_to_their_canonical_form():
    rng, seen = random.Random(0), 0
    for space in seeded_spaces(300):
        for arch in (random_arch(rng, space) for _ in range(5)):
            if arch in space:
                seen += arch != space.canonical(arch)
                assert Genes(space).decode(Genes(space).encode(arch)) == space.canonical(arch)
            else:
                with pytest.raises(InputError, match=r"not in the space: blocks\[\d+\]: "):
                    Genes(space).encode(arch)
    assert seen > 10


def test_the_genes_are_flat_named_by_block_and_start_with_the_plain_choice():
    values = {
        "pool": {
            "blocks": [3],
            "kinds": ["avg2d", "conv1d"],
            "grids": [10, [7, 5]],
            "strides": [2],
        },
        "share": {"blocks": [3, 4]},
        "skip": {"blocks": [4], "ratios": [0.5, 0.25], "selectors": ["map", "cls"]},
    }
    assert Genes(SearchSpace.from_dict(values, deit_small())).categories == {
        "pool.3": ("none", "avg2d:10x10", "avg2d:7x5", "conv1d/2"),
        "attention.3": ("own", "shared"),
        "skip.4": ("none", "0.5:map", "0.5:cls", "0.25:map", "0.25:cls"),
        "attention.4": ("own", "shared"),
    }


@pytest.fixture
def genes():
    values = {
        "pool": {"kinds": ["avg2d"], "grids": [10, 7], "max_pools": 1},
        "share": {"max_run": 1},
        "skip": {"ratios": [0.25, 0.5], "selectors": ["map", "cls"], "max_run": 2},
    }
    return Genes(SearchSpace.from_dict(values, deit_small(depth=6)))


def decoded(genes, **changes):
    """The arch of genes written as `pool_3="..."`; plain blocks at the end are left out."""
    blocks = genes.decode({key.replace("_", "."): value for key, value in changes.items()}).blocks
    last = max((i for i, block in enumerate(blocks) if block != BlockArch()), default=-1)
    return Arch(blocks[: last + 1] or blocks[:1]).blocks


PLAIN, SHARED = BlockArch(), BlockArch(attention="shared")
POOL10 = BlockArch(pool=Pool("avg2d", grid=(10, 10)))


def test_pool_wins_over_skip(genes):
    assert decoded(genes, pool_1="avg2d:10x10", skip_1="0.5:map") == (PLAIN, POOL10)


def test_a_pool_that_a_rule_forbids_leaves_room_for_the_skip(genes):
    blocks = decoded(genes, pool_1="avg2d:10x10", pool_3="avg2d:7x7", skip_3="0.5:cls")
    assert blocks == (PLAIN, POOL10, PLAIN, BlockArch(skip=0.5, selector="cls"))


def test_a_skip_after_a_run_goes_on_with_it_at_its_ratio(genes):
    run = BlockArch(skip=0.5, selector="cls"), BlockArch(skip=0.5)
    assert decoded(genes, skip_1="0.5:cls", skip_2="0.25:map") == (PLAIN, *run)


def test_a_skip_where_the_run_is_full_sees_all_tokens(genes):
    skips = {f"skip_{i}": "0.25:map" for i in range(1, 6)}
    skip = BlockArch(skip=0.25)
    assert decoded(genes, **skips) == (PLAIN, skip, skip, PLAIN, skip, skip)


def test_a_forbidden_sharing_falls_back_to_own_and_keeps_the_tokens(genes):
    assert decoded(genes, pool_2="avg2d:10x10", attention_2="shared") == (PLAIN, PLAIN, POOL10)
    skip = BlockArch(skip=0.5)
    assert decoded(genes, skip_1="0.5:map", attention_1="shared") == (PLAIN, skip)
    assert decoded(genes, attention_1="shared", attention_2="shared") == (PLAIN, SHARED)


def test_a_skip_after_a_shared_block_sees_all_tokens(genes):
    assert decoded(genes, attention_1="shared", skip_2="0.5:map") == (PLAIN, SHARED)


def test_sharing_inside_a_run_stays(genes):
    inside = BlockArch(skip=0.5, attention="shared")
    blocks = decoded(genes, skip_1="0.5:map", skip_2="0.5:map", attention_2="shared")
    assert blocks == (PLAIN, BlockArch(skip=0.5), inside)


@pytest.mark.parametrize(
    ("gene", "value", "message"),
    [
        ("skip.0", "0.5:map", "unknown gene 'skip.0'; did you mean 'skip."),
        ("skip.3", "0.4:map", "skip.3: must be one of none, 0.25:map, 0.25:cls, 0.5:map, 0.5:cls"),
        ("attention.2", "none", "attention.2: must be one of own, shared, got 'none'"),
    ],
)
def test_unknown_genes_and_values_are_refused_by_name(genes, gene, value, message):
    with pytest.raises(InputError) as caught:
        genes.decode({gene: value})
    assert str(caught.value).startswith(message)


def test_every_pooling_among_the_genes_is_that_of_some_arch():
    for space in seeded_spaces(40, most=3000):
        used = {
            (i, str(block.pool))
            for rank in range(space.size())
            for i, block in enumerate(space.graph.path(rank).blocks)
            if block.pool
        }
        listed = {
            (int(gene.removeprefix("pool.")), value)
            for gene, values in Genes(space).categories.items()
            if gene.startswith("pool.")
            for value in values[1:]
        }
        assert listed == used
