"""The rules of a space: its archs are those of the space without rules that keep them."""

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import space_reference as reference
from hypothesis import given
from space_toys import (
    deit_small,
    deviation,
    random_arch,
    random_genes,
    random_space,
    randoms,
    seeded_spaces,
)
from toy_operator import Thin, ThinAxis, registered_in_space

from space import Arch, BlockArch, Genes, InputError, Pool, Rules, SearchSpace, macs
from space.rules import NO_RULES
from space.utils.reader import Reader

KEEP_GRID, KEEP_2D = Rules(keep_grid=True), Rules(keep_2d=True)
EACH = [KEEP_GRID, KEEP_2D, Rules(keep_grid=True, keep_2d=True)]
POOL = {"kinds": ["avg2d", "avg1d"], "grids": [10, 7], "strides": [2]}
ONE_D = {"kinds": ["conv1d", "max1d"], "strides": [2]}
REST = {"share": {"max_run": 2}, "skip": {"ratios": [0.25, 0.5], "max_run": 2}}
OWN = BlockArch()
AVG7, AVG1D = BlockArch(pool=Pool("avg2d", grid=(7, 7))), BlockArch(pool=Pool("avg1d", stride=2))


def ruled(values, rules):
    """A space of DeiT-S as Python makes it, whatever its rules forbid."""
    return replace(SearchSpace.from_dict(values, deit_small()), rules=rules)


@pytest.fixture(scope="module")
def brute():
    """Small spaces with rules, and those archs of the space without them that keep the rules."""
    found = []
    for free in seeded_spaces(200, least=2, most=1500, depth=4, ruled=False):
        archs = [free.graph.path(rank) for rank in range(free.size())]
        for rules in EACH:
            kept = [arch for arch in archs if reference.keeps(arch, free.shape, rules)]
            found.append((replace(free, rules=rules), kept, len(archs)))
    return found


def test_each_rule_forbids_a_part_of_many_spaces(brute):
    for rules in EACH:
        parts = [len(kept) / whole for space, kept, whole in brute if space.rules == rules]
        assert sum(part < 1 for part in parts) > 50
        assert sum(0.1 < part < 1 for part in parts) > 10


def test_the_archs_are_exactly_those_that_keep_the_rules_in_the_same_order(brute):
    for space, kept, _ in brute:
        assert [space.graph.path(rank) for rank in range(space.size())] == kept
        assert space.largest() in kept
        assert space.smallest() == min(kept, key=lambda arch: macs(arch, space.shape))


def test_membership_and_violations_agree_with_the_rules(brute):
    for space, kept, _ in brute[::3]:
        free, right = replace(space, rules=NO_RULES), set(kept)
        for rank in range(0, free.size(), 1 + free.size() // 40):
            arch = free.graph.path(rank)
            assert (arch in space) == (not space.violations(arch)) == (arch in right)


def test_counts_and_draws_in_bands_are_of_those_archs(brute):
    rng = np.random.default_rng(0)
    for space, kept, _ in islice(brute, 0, None, 5):
        costs = {arch: macs(arch, space.shape) for arch in kept}
        low, high = np.quantile(list(costs.values()), [0.2, 0.7], method="nearest").tolist()
        inside = {arch for arch, cost in costs.items() if low <= cost <= high}
        assert space.mac_bands.count(low, high) == (len(inside), True)
        drawn = {space.sample(rng, macs=(low, high)) for _ in range(8)}
        assert drawn <= inside
        assert {space.mac_bands.sample_evenly(rng) for _ in range(8)} <= costs.keys()


def test_draws_are_uniform(brute):
    rng = np.random.default_rng(1)
    for space, kept, _ in [each for each in brute if 5 < len(each[1]) < 40 < each[2]][:15]:
        places = dict.fromkeys(kept, 0)
        for _ in range(30 * len(kept)):
            places[space.sample(rng)] += 1
        assert abs(deviation(list(places.values()), [30] * len(kept))) < 5


def test_every_arch_has_genes_and_no_gene_a_value_that_no_arch_has(brute):
    for space, kept, _ in brute[::4]:
        genes = Genes(space)
        for arch in kept[:: 1 + len(kept) // 50]:
            assert genes.decode(genes.encode(arch)) == arch
        pools = {str(block.pool) for arch in kept for block in arch.blocks if block.pool}
        listed = [v[1:] for gene, v in genes.categories.items() if gene.startswith("pool.")]
        assert {value for values in listed for value in values} == pools


@given(randoms)
def test_every_assignment_of_genes_keeps_the_rules(rng):
    space = random_space(rng)
    arch = Genes(space).decode(random_genes(rng, space))
    assert arch in space
    assert reference.keeps(arch, space.shape, space.rules)
    free = replace(space, rules=NO_RULES)
    assert Genes(free).encode(arch).items() >= Genes(space).encode(arch).items()


@given(randoms)
def test_rules_only_take_archs_away_and_change_no_identity(rng):
    space = random_space(rng)
    free = replace(space, rules=NO_RULES)
    arch = random_arch(rng, space)
    canonical = free.canonical(arch)
    assert space.canonical(arch) == canonical
    kept = reference.keeps(canonical, space.shape, space.rules)
    assert (arch in space) == (arch in free and kept)
    assert space.identity(arch) == free.identity(arch)
    assert len(space.violations(arch)) >= len(free.violations(arch))


@pytest.mark.parametrize(
    ("rules", "blocks", "reasons"),
    [
        (KEEP_GRID, (AVG7,), ["blocks[0]: pool avg2d:7x7 leaves 49 of 196 patch tokens"]),
        (
            KEEP_GRID,
            (OWN, BlockArch(pool=Pool("avg2d", grid=(10, 10))), AVG1D),
            [
                "blocks[1]: pool avg2d:10x10 leaves 100 of 196 patch tokens (rules.keep_grid)",
                "blocks[2]: pool avg1d/2 leaves 50 of 100 patch tokens (rules.keep_grid)",
            ],
        ),
        (
            KEEP_2D,
            (AVG7, OWN, AVG1D),
            [
                "blocks[2]: pool avg1d/2 leaves no token grid, which the head of a dense task "
                "reads (rules.keep_2d)"
            ],
        ),
        (KEEP_2D, (AVG7, OWN, BlockArch(skip=0.5)), []),
        (KEEP_GRID, (OWN, BlockArch(skip=0.5), BlockArch(skip=0.5)), []),
    ],
)
def test_a_broken_rule_is_told_with_block_choice_and_rule(rules, blocks, reasons):
    space = SearchSpace.from_dict({"pool": POOL, **REST}, deit_small(6))
    arch = Arch((*blocks, *[OWN] * (6 - len(blocks))))
    assert arch in space
    found = replace(space, rules=rules).violations(arch)
    assert len(found) == len(reasons)
    assert all(text.startswith(reason) for text, reason in zip(found, reasons, strict=True))


def test_a_space_that_keeps_its_grid_is_that_without_pooling():
    space = ruled({"pool": POOL, **REST}, KEEP_GRID)
    plain = SearchSpace.from_dict(REST, deit_small())
    assert space.size() == plain.size() > 1000
    assert space.smallest() == plain.smallest()
    assert Genes(space).categories == Genes(plain).categories


def test_kernels_that_no_arch_uses_are_not_drawn_for():
    pools = {"kinds": ["conv2d", "conv1d"], "grids": [7], "strides": [2]}
    kernels = {kernel for _, kernel in ruled({"pool": pools}, KEEP_2D).kernel_bands}
    assert kernels == {"conv2d"}
    assert ruled({"pool": pools}, KEEP_GRID).kernel_bands == {}


def test_rules_hold_for_operators_that_they_do_not_know():
    class Halve(Thin):
        """Takes tokens away and gives their places to others: as many as before, in no grid."""

        name = field = "halve"

        def advance(self, tokens, counter, choice):
            return (tokens._replace(grid=None, changed=True), 0) if choice else (tokens, 0)

    arch = Arch((OWN, BlockArch(extra=(("thin", True),)), OWN))
    with registered_in_space(Thin()):
        space = SearchSpace(deit_small(3), {"thin": ThinAxis((1, 2))})
        assert space.size() == 4
        assert replace(space, rules=KEEP_2D).size() == 1
        (reason,) = replace(space, rules=KEEP_GRID).violations(arch)
        assert reason == "blocks[1]: thin thin leaves 98 of 196 patch tokens (rules.keep_grid)"
    with registered_in_space(Halve()):
        space = SearchSpace(deit_small(3), {"halve": ThinAxis((1, 2))}, KEEP_GRID)
        (reason,) = space.violations(Arch((OWN, BlockArch(extra=(("halve", True),)), OWN)))
        assert reason == "blocks[1]: halve thin leaves no token grid (rules.keep_grid)"
        assert space.size() == 1
    with (
        pytest.raises(InputError, match="operator 'rules': is the name of another section"),
        registered_in_space(type("Named", (Thin,), {"name": "rules"})()),
    ):
        pass


@pytest.mark.parametrize("section", [None, {}, {"keep_grid": False}, {"keep_2d": None}])
def test_without_a_rule_the_section_does_not_appear(section):
    plain = SearchSpace.from_dict(REST, deit_small())
    space = SearchSpace.from_dict({"rules": section, **REST}, deit_small())
    assert space == plain
    assert (hash(space), space.to_dict()) == (hash(plain), plain.to_dict())
    assert list(space.to_dict()) == ["share", "skip"]
    assert (space.rules, bool(space.rules), space.rules.names) == (Rules(), False, ())


def test_rules_are_read_written_and_joined_with_those_of_a_task():
    values = {"pool": POOL, "rules": {"keep_2d": True}, **REST}
    space = SearchSpace.from_dict(values, deit_small())
    assert space.rules == KEEP_2D
    assert list(space.to_dict()) == ["pool", "rules", "share", "skip"]
    assert space.to_dict()["rules"] == {"keep_2d": True}
    assert space != SearchSpace.from_dict({"pool": POOL, **REST}, deit_small())
    assert SearchSpace.from_dict({"pool": POOL, **REST}, deit_small(), KEEP_2D) == space
    assert SearchSpace.from_dict(values, deit_small(), KEEP_2D) == space
    both = SearchSpace.from_dict({"rules": {"keep_grid": True}, **REST}, deit_small(), KEEP_2D)
    assert both.rules == KEEP_GRID | KEEP_2D == EACH[2]
    assert both.rules.names == ("keep_grid", "keep_2d")
    assert SearchSpace.from_dict(both.to_dict(), deit_small()) == both


WRONG = [
    ({"rules": {"keep": True}}, NO_RULES, "space.rules.keep: unknown key; did you mean 'keep_"),
    ({"rules": {"keep_grid": 1}}, NO_RULES, "space.rules.keep_grid: must be true or false, got 1"),
    ({"rules": {"keep_2d": "no"}}, KEEP_GRID, "space.rules.keep_2d: must be true or false, got "),
    ({"rules": [1]}, NO_RULES, "space.rules: must be a mapping of keep_grid, keep_2d, got [1]"),
    ({"rules": True}, NO_RULES, "space.rules: must be a mapping of keep_grid, keep_2d, got True"),
    (
        {"pool": POOL, "rules": {"keep_grid": True}},
        NO_RULES,
        "space.pool: no choice of it keeps the rules of the space: pool avg2d:10x10 leaves 100 of "
        "196 patch tokens (rules.keep_grid); list another choice, or leave the section out",
    ),
    (
        {"pool": ONE_D},
        KEEP_2D,
        "space.pool: no choice of it keeps the rules of the space: pool conv1d/2 leaves no token "
        "grid, which the head of a dense task reads (rules.keep_2d); list another choice, or",
    ),
]


@pytest.mark.parametrize(("values", "rules", "message"), WRONG)
def test_a_wrong_section_is_told_with_its_place_on_one_line(values, rules, message):
    with pytest.raises(InputError) as caught:
        SearchSpace.from_dict({**values, **REST}, deit_small(), rules)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_a_section_with_a_choice_that_keeps_the_rules_is_taken_without_the_others():
    space = SearchSpace.from_dict({"pool": POOL}, deit_small(), KEEP_2D)
    assert Genes(space).categories["pool.3"] == ("none", "avg2d:10x10", "avg2d:7x7")
    assert space.size() == 12 * 2 + 66 + 1
    assert space.left_out() == [
        "space.pool: no arch has these choices: pool avg1d/2 leaves no token grid, which the head "
        "of a dense task reads (rules.keep_2d)"
    ]
    assert SearchSpace.from_dict({"pool": POOL}, deit_small()).left_out() == []


def test_files_of_results_are_read_whatever_their_rules_forbid():
    space = ruled({"pool": ONE_D}, KEEP_2D)
    assert space.size() == 1
    assert SearchSpace.read(Reader(space.to_dict(), ("space",)), deit_small()) == space
