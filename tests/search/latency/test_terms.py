"""The terms of an arch add up block by block, and a space's terms are those of its archs."""

import random
from collections import Counter

import pytest
from search_toys import all_archs, toy_space
from space_toys import deit_small, seeded_spaces

from search.latency.terms import arch_terms, count_terms, list_terms
from space import Arch, BlockArch, Pool, macs, token_counts
from space.operators.base import Term

SPACES = seeded_spaces(40, most=600)
OWN, SHARED = BlockArch(), BlockArch(attention="shared")


def by_hand(arch, shape):
    """The terms from the definition, looking at neighbours."""
    found, tokens = Counter(), shape.patch_tokens
    through = token_counts(arch, shape)
    for i, block in enumerate(arch.blocks):
        before = arch.blocks[i - 1] if i else OWN
        n = through[i]
        found[Term(block.attention, n, n)] += 1
        if block.shared and not before.shared:
            found[Term("kept map", n, n)] += 1
        if block.pool:
            found[Term(block.pool.kind, tokens, n)] += 1
            tokens = n
        if block.skip and not before.skip:
            found[Term(f"{block.selector} selector", tokens, n)] += 1
    found[Term("rest", tokens, tokens)] += 1
    return found


@pytest.mark.parametrize("seed", range(len(SPACES)))
def test_of_every_arch(seed):
    space = SPACES[seed]
    seen = Counter()
    for arch in all_archs(space):
        assert count_terms(arch, space.shape) == by_hand(arch, space.shape)
        seen.update(count_terms(arch, space.shape))
        assert sum(work for _, work in arch_terms(arch, space.shape)) == macs(arch, space.shape)
    assert list_terms(space) == sorted(seen)


def test_of_one_by_hand():
    arch = Arch(
        (
            OWN,
            SHARED,
            SHARED,
            BlockArch(pool=Pool("avg2d", grid=(7, 7))),
            BlockArch(skip=0.5, selector="cls"),
            BlockArch(skip=0.5, attention="shared"),
        )
    )
    assert count_terms(arch, deit_small(6)) == {
        Term("own", 196, 196): 1,
        Term("shared", 196, 196): 2,
        Term("kept map", 196, 196): 1,
        Term("own", 49, 49): 1,
        Term("avg2d", 196, 49): 1,
        Term("own", 25, 25): 1,
        Term("shared", 25, 25): 1,
        Term("kept map", 25, 25): 1,
        Term("cls selector", 49, 25): 1,
        Term("rest", 49, 49): 1,
    }


def test_a_term_as_people_read_it():
    rng = random.Random(0)
    terms = list_terms(toy_space())
    assert str(Term("own", 49, 49)) == "own 49"
    assert str(Term("avg2d", 196, 49)) == "avg2d 196>49"
    assert len({str(term) for term in rng.sample(terms, 10)}) == 10
