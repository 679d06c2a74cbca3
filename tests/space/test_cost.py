"""MACs, params and token counts: known values, and equality with the plain reference."""

import dataclasses
import random

import pytest
import space_reference as reference
from hypothesis import given
from space_toys import deit, random_arch, random_genes, random_space, randoms, seeded_spaces

from space import Arch, BlockArch, Genes, InputError, Part, Pool, macs, params, token_counts

DEIT = {
    (192, 3): (1_253_683_200, 5_717_416),
    (384, 6): (4_598_882_304, 22_050_664),
    (768, 12): (17_563_828_224, 86_567_656),
}
OWN, SHARED = BlockArch(), BlockArch(attention="shared")


def one_block(block, at=6, depth=12):
    return Arch(tuple(block if i == at else OWN for i in range(depth)))


@pytest.mark.parametrize("size", DEIT)
def test_deit_at_224_costs_what_is_known(size):
    shape, full = deit(*size), Arch.full(12)
    assert (macs(full, shape), params(full, shape)) == DEIT[size]
    assert token_counts(full, shape) == [196] * 12


@given(randoms)
def test_costs_are_those_of_the_reference(rng):
    space = random_space(rng)
    arch = Genes(space).decode(random_genes(rng, space))
    assert macs(arch, space.shape) == reference.macs(arch, space.shape)
    assert params(arch, space.shape) == reference.params(arch, space.shape)
    assert token_counts(arch, space.shape) == reference.token_counts(arch, space.shape)


def test_costs_are_those_of_the_reference_for_all_archs_of_small_spaces():
    for space in seeded_spaces(100, most=300, depth=4):
        for rank in range(space.size()):
            arch = space.graph.path(rank)
            assert macs(arch, space.shape) == reference.macs(arch, space.shape)
            assert params(arch, space.shape) == reference.params(arch, space.shape)


# What one choice at block 6 of DeiT-S changes, worked out by hand: width 384, 6 heads, 197 tokens.
PER_TOKEN = 12 * 384 * 384
FULL = 197 * PER_TOKEN + 2 * 384 * 197**2
CHANGES = [
    (SHARED, -(197 * 2 * 384**2 + 384 * 197**2), -2 * (384**2 + 384)),
    (BlockArch(skip=0.5), 99 * PER_TOKEN + 2 * 384 * 99**2 - FULL + 2 * 36 * 197**2, 78),
    (BlockArch(skip=0.5, selector="cls"), 99 * PER_TOKEN + 768 * 99**2 - FULL + 384 * 197, 0),
]


@pytest.mark.parametrize(("block", "more_macs", "more_params"), CHANGES)
def test_one_choice_changes_the_cost_by_its_formula(block, more_macs, more_params):
    shape, arch = deit(384, 6), one_block(block)
    assert macs(arch, shape) == 4_598_882_304 + more_macs
    assert params(arch, shape) == 22_050_664 + more_params


@pytest.mark.parametrize(
    ("pool", "tokens", "taps"),
    [
        (Pool("avg2d", grid=(10, 10)), 100, 0),
        (Pool("max2d", grid=(14, 1)), 14, 0),
        (Pool("conv2d", grid=(7, 7)), 49, 9),
        (Pool("avg1d", stride=5), 40, 0),
        (Pool("max1d", stride=300), 1, 0),
        (Pool("conv1d", stride=2), 98, 3),
    ],
)
def test_pooling_shortens_every_later_block_and_a_convolution_costs_its_taps(pool, tokens, taps):
    shape, arch = deit(384, 6), one_block(BlockArch(pool=pool), at=8)
    n = tokens + 1
    saved = 4 * (FULL - n * PER_TOKEN - 2 * 384 * n * n)
    assert macs(arch, shape) == 4_598_882_304 - saved + taps * 384 * tokens
    assert params(arch, shape) == 22_050_664 + taps * 384
    assert token_counts(arch, shape) == [196] * 8 + [tokens] * 4


def test_a_run_selects_once_and_puts_all_tokens_back():
    shape = deit(384, 6)
    run = [OWN, BlockArch(skip=0.75), BlockArch(skip=0.75, attention="shared"), OWN]
    arch = Arch((*run, *[OWN] * 8))
    assert token_counts(arch, shape) == [196, 49, 49, 196] + [196] * 8
    assert params(arch, shape) == 22_050_664 + 78 - 2 * (384**2 + 384)


def test_a_head_that_reads_patch_tokens_costs_by_those_that_reach_it():
    shape = dataclasses.replace(deit(384, 6), head_per_token=1000)
    assert macs(Arch.full(12), shape) == 4_598_882_304 + 196_000
    pooled = one_block(BlockArch(pool=Pool("avg2d", grid=(7, 7))), at=11)
    assert macs(pooled, shape) - macs(pooled, deit(384, 6)) == 49_000
    skipped = one_block(BlockArch(skip=0.5), at=11)
    assert macs(skipped, shape) - macs(skipped, deit(384, 6)) == 196_000


def test_each_part_of_the_shape_counts_as_often_as_it_runs():
    shape, arch = deit(192, 3), one_block(SHARED, at=5)
    counts = {"stem": 1, "head": 1, "query_key": 11, "value_output": 12, "mlp": 12, "rest": 12}
    for name, times in counts.items():
        part = getattr(shape, name)
        dearer = dataclasses.replace(shape, **{name: Part(part.macs + 7, part.params + 5)})
        runs = {"stem": 1, "head": 1, "rest": 0}.get(name, times * 197)
        assert macs(arch, dearer) - macs(arch, shape) == 7 * runs
        assert params(arch, dearer) - params(arch, shape) == 5 * times


def test_costs_are_plain_integers_however_large():
    shape = dataclasses.replace(deit(768, 12), mlp=Part(10**30, 10**29), stem=Part(1, 1))
    full = Arch.full(12)
    assert macs(full, shape) == reference.macs(full, shape) > 12 * 197 * 10**30
    assert params(full, shape) == reference.params(full, shape)
    assert type(macs(full, shape)) is type(params(full, shape)) is int


@pytest.mark.parametrize("cost", [macs, params, token_counts])
def test_an_arch_of_another_depth_is_refused(cost):
    with pytest.raises(InputError, match="the arch has 11 blocks, the backbone 12"):
        cost(Arch.full(11), deit(192, 3))


def test_unequal_archs_are_never_mixed_up_by_the_cache():
    rng = random.Random(3)
    for space in seeded_spaces(30, least=5):
        archs = [Genes(space).decode(random_genes(rng, space)) for _ in range(30)]
        first = [macs(arch, space.shape) for arch in archs]
        assert [macs(arch, space.shape) for arch in reversed(archs)] == first[::-1]
        assert first == [reference.macs(arch, space.shape) for arch in archs]


def test_costs_are_those_of_the_canonical_form():
    rng = random.Random(8)
    changed = 0
    for space in seeded_spaces(60):
        for _ in range(40):
            arch = random_arch(rng, space)
            if arch not in space:
                continue
            canonical = space.canonical(arch)
            changed += arch != canonical
            for cost in (macs, params, token_counts):
                assert cost(arch, space.shape) == cost(canonical, space.shape)
    assert changed > 50
