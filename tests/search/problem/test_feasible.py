"""Draws and listings inside budgets, against brute force."""

import collections
import itertools
import random

import numpy as np
import pytest
from dense_toys import dense_supernet
from search_toys import all_archs, toy_space
from space_toys import deviation, seeded_spaces

from search.problem import feasible as module
from search.problem.budget import parse_budget
from search.problem.feasible import FeasibleArchs
from search.problem.objectives import Objective
from search.utils.units import quantity
from space import InputError
from space.counting.graph import list_archs

COSTS = ("macs", "params", "tokens", "activation_memory")
SPACES = seeded_spaces(40, least=2, most=2000)


def budget_of(rng, space, archs, costs):
    """A budget that some archs of the space keep, perhaps not together; some are ranges."""
    values = {}
    for name in rng.sample(COSTS, costs):
        of = parse_budget({name: 1}, space).limits[0].cost
        values[name] = max(of(rng.choice(archs)), 1)
        if rng.random() < 0.4:
            least, most = sorted((values[name], max(of(rng.choice(archs)), 1)))
            values[name] = f"{least}..{most}"
    return parse_budget(values, space)


@pytest.mark.parametrize("seed", range(120))
def test_draws_give_every_arch_inside_once_and_then_none(seed):
    rng = random.Random(seed)
    space = SPACES[seed % len(SPACES)]
    archs = all_archs(space)
    budget = budget_of(rng, space, archs, rng.randint(0, 3))
    inside = {space.identity(arch) for arch in archs if budget.inside(arch)}
    feasible, seen = FeasibleArchs(space, budget), set()
    draws = np.random.default_rng(seed)
    while (arch := feasible.draw(draws, seen)) is not None:
        assert budget.inside(arch)
        assert space.identity(arch) not in seen
        seen.add(space.identity(arch))
    assert seen == inside
    assert feasible.listed is not None
    assert feasible.count() == (len(inside), True)


@pytest.mark.parametrize("seed", range(80))
def test_a_budget_is_refused_where_no_arch_keeps_it(seed):
    rng = random.Random(seed)
    space = SPACES[seed % len(SPACES)]
    archs = all_archs(space)
    budget = budget_of(rng, space, archs, rng.randint(1, 3))
    lower = parse_budget({each.name: max(each.most * 0.9, 0.1) for each in budget.limits}, space)
    for each in (budget, lower):
        feasible = FeasibleArchs(space, each)
        if any(map(each.inside, archs)):
            feasible.check(np.random.default_rng(0))
        else:
            with pytest.raises(InputError, match="no arch is"):
                feasible.check(np.random.default_rng(0))


def test_the_refusal_shows_the_range_of_the_space():
    space = toy_space()
    with pytest.raises(InputError) as caught:
        FeasibleArchs(space, parse_budget("macs=1M", space)).check(np.random.default_rng(0))
    low, high = quantity(space.mac_bands.low), quantity(space.mac_bands.high)
    for word in ("macs=1M (flops=2M)", "no arch is that cheap", f"from macs={low} (", f"to {high}"):
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_per_cents_without_their_sign_are_guessed_at():
    space = toy_space()

    def refusal(budget):
        with pytest.raises(InputError) as caught:
            FeasibleArchs(space, parse_budget(budget, space)).check(np.random.default_rng(0))
        return str(caught.value)

    assert refusal("macs=70").endswith("; per cents are written as macs=70%")
    assert "per cents are written" not in refusal("macs=1M")
    space = dense_supernet().space
    hint = "; per cents are written as backbone_macs=70%"
    assert refusal("backbone_macs=70").endswith(hint)


def test_budgets_that_each_have_archs_are_refused_where_they_have_none_together():
    space = toy_space()
    # What shares most has fewest parameters; what skips and pools most has fewest MACs.
    alone = [each for each in ("params=93%", "macs=33%") if _met(space, each)]
    assert alone == ["params=93%", "macs=33%"]
    with pytest.raises(InputError) as caught:
        FeasibleArchs(space, parse_budget(alone, space)).check(np.random.default_rng(0))
    for word in ("params=", "macs=", "no arch is inside; the space reaches from"):
        assert word in str(caught.value)


def test_a_budget_on_a_function_is_refused_where_no_arch_keeps_it():
    space = toy_space()
    never = Objective("never", "min", lambda arch: 2.0)
    with pytest.raises(InputError, match=r"no arch is inside; .*never=2"):
        FeasibleArchs(space, parse_budget({"never": 1}, space, [never])).check(
            np.random.default_rng(0)
        )


def _met(space, budget):
    try:
        FeasibleArchs(space, parse_budget(budget, space)).check(np.random.default_rng(0))
    except InputError:
        return False
    return True


def test_draws_are_uniform_over_what_is_left():
    space = toy_space()
    budget = parse_budget("macs=45%, tokens=60%", space)
    inside = [arch for arch in all_archs(space) if budget.inside(arch)]
    seen = {space.identity(arch) for arch in inside[::2]}
    left = [space.identity(arch) for arch in inside[1::2]]
    feasible, rng = FeasibleArchs(space, budget), np.random.default_rng(0)
    drawn = collections.Counter()
    for _ in range(20 * len(left)):
        drawn[space.identity(feasible.draw(rng, seen))] += 1
    assert set(drawn) <= set(left)
    assert abs(deviation([drawn[each] for each in left], [20] * len(left))) < 4


def test_draws_without_a_list_are_uniform_too(monkeypatch):
    monkeypatch.setattr(module, "MAX_LISTED", 3)
    space = toy_space()
    budget = parse_budget("macs=60%, params=97%", space)
    inside = [space.identity(arch) for arch in all_archs(space) if budget.inside(arch)]
    feasible, rng = FeasibleArchs(space, budget), np.random.default_rng(0)
    drawn = collections.Counter(
        space.identity(feasible.draw(rng, ())) for _ in range(20 * len(inside))
    )
    assert set(drawn) <= set(inside)
    assert abs(deviation([drawn[each] for each in inside], [20] * len(inside))) < 4
    assert feasible.draw(rng, set(inside)) is None
    assert feasible.listed is None


@pytest.mark.parametrize("seed", range(40))
def test_a_listing_is_what_brute_force_finds(seed):
    rng = random.Random(seed)
    space = SPACES[seed % len(SPACES)]
    archs = all_archs(space)
    budget = budget_of(rng, space, archs, rng.randint(0, 3))
    limits = [(each.additive, each.most) for each in budget.limits if each.additive]
    additive = [each for each in budget.limits if each.additive]
    expected = [arch for arch in archs if all(each.cost(arch) <= each.most for each in additive)]
    assert set(list_archs(space.graph, limits, len(archs))) == set(expected)
    assert len(list_archs(space.graph, limits, len(expected))) == len(expected)
    if expected:
        assert list_archs(space.graph, limits, len(expected) - 1) is None


def test_a_listing_that_takes_too_long_is_given_up(monkeypatch):
    space = toy_space()
    monkeypatch.setattr("space.counting.graph.MAX_VISITS", 10)
    assert list_archs(space.graph, [], 1 << 30) is None


def test_a_range_without_an_arch_is_refused_with_the_spaces_range():
    space = toy_space()
    costs = sorted({parse_budget("macs=1", space).limits[0].cost(a) for a in all_archs(space)})
    low, high = max(itertools.pairwise(costs), key=lambda pair: pair[1] - pair[0])
    for least, most in ((low + 1, high - 1), (costs[-1] + 1, 2 * costs[-1])):
        with pytest.raises(InputError, match=r"no arch has such a cost; the space reaches from"):
            FeasibleArchs(space, parse_budget(f"macs={least}..{most}", space)).check(
                np.random.default_rng(0)
            )
    FeasibleArchs(space, parse_budget(f"macs={low}..{high}", space)).check(np.random.default_rng(0))
