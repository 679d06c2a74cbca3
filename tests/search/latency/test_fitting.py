"""Designed archs, and the fit: what is additive is found again; what is noisy, nearly."""

from collections import Counter

import numpy as np
import pytest
from latency_toys import ms_of_arch, ms_of_term, table_of
from scipy.stats import kendalltau
from search_toys import small_space, toy_space
from space_toys import deit_small, seeded_spaces

from search.latency.design import COVERAGE, design_archs, draw_held_out
from search.latency.fit import Error, fit_terms, kendall_tau
from search.latency.terms import count_terms, list_terms
from space import SearchSpace

SPACES = [toy_space(), small_space(), *seeded_spaces(10, least=200, most=5000)]


def deit_space():
    values = {
        "pool": {"kinds": ["avg2d", "conv2d"], "grids": [10, 7], "max_pools": 2},
        "share": {"max_run": 2},
        "skip": {"ratios": [0.25, 0.5, 0.75], "selectors": ["map", "cls"], "max_run": 2},
    }
    return SearchSpace.from_dict(values, deit_small(12))


@pytest.mark.parametrize("space", [deit_space(), *SPACES])
def test_every_term_has_archs_enough(space):
    archs = design_archs(space, np.random.default_rng(0))
    assert len(set(archs)) == len(archs)
    assert all(arch in space and space.canonical(arch) == arch for arch in archs)
    assert space.largest() in archs
    assert space.smallest() in archs
    counts = Counter(term for arch in archs for term in count_terms(arch, space.shape))
    assert set(counts) == set(list_terms(space))
    if space.size() > 10**6:
        assert min(counts.values()) >= COVERAGE


def test_held_out_archs_are_others():
    space, rng = deit_space(), np.random.default_rng(0)
    designed = design_archs(space, rng)
    held = draw_held_out(space, rng, 30, designed)
    assert len(set(held)) == 30
    assert not set(held) & set(designed)
    assert all(arch in space for arch in held)


def test_exact_times_are_found_again():
    space, rng = deit_space(), np.random.default_rng(0)
    shape = space.shape
    designed = design_archs(space, rng)
    held = draw_held_out(space, rng, 40, designed)
    terms = fit_terms(
        {arch: ms_of_arch(arch, shape) for arch in designed}, shape, list_terms(space)
    )
    assert all(value >= 0 for value in terms.values())
    guess = [sum(n * terms[t] for t, n in count_terms(arch, shape).items()) for arch in held]
    error = Error.of(guess, [ms_of_arch(arch, shape) for arch in held])
    assert error.mean < 0.005
    assert error.kendall_tau > 0.97
    assert error.archs == 40
    own = [t for t in terms if t.operator == "own" and t.tokens == 196]
    assert terms[own[0]] == pytest.approx(ms_of_term(own[0]), rel=0.05)


def test_noise_is_averaged_and_the_full_arch_is_met():
    space, rng = deit_space(), np.random.default_rng(1)
    shape = space.shape
    designed = design_archs(space, rng)
    noisy = {a: ms_of_arch(a, shape) * rng.normal(1, 0.02) for a in designed}
    noisy[space.largest()] *= (
        1.03  # as a measurement may be off, which per cents are of all the same
    )
    terms = fit_terms(noisy, shape, list_terms(space))
    held = draw_held_out(space, rng, 40, designed)
    guess = [sum(n * terms[t] for t, n in count_terms(arch, shape).items()) for arch in held]
    error = Error.of(guess, [ms_of_arch(arch, shape) for arch in held])
    assert error.mean < 0.03
    assert error.kendall_tau > 0.9
    full = sum(n * terms[t] for t, n in count_terms(space.largest(), shape).items())
    assert full == pytest.approx(noisy[space.largest()], rel=1e-3)


def test_archs_that_are_predicted_to_be_equal_are_not_compared():
    assert kendall_tau([1, 1, 2, 2], [1.0, 1.1, 2.1, 2.0]) == 1
    assert kendall_tau([1, 2, 3], [3, 2, 1]) == -1
    assert kendall_tau([1, 1], [1, 2]) == 0
    rng = np.random.default_rng(0)
    guess, truth = rng.random(50), rng.random(50)
    assert kendall_tau(guess, truth) == pytest.approx(kendalltau(guess, truth).statistic)


def test_errors_that_are_too_large_for_budgets():
    exact = Error.of([1.0, 2.0, 3.0], [1.0, 2.0, 3.0])
    assert (exact.mean, exact.worst, exact.kendall_tau) == (0, 0, 1)
    assert not exact.large
    assert Error.of([1.2, 2.4, 3.6], [1.0, 2.0, 3.0]).large
    assert Error.of([1.0, 1.01, 1.02], [1.02, 1.01, 1.0]).large
    assert not table_of(toy_space()).error.large
