import re

import numpy as np
import pytest
from search_toys import toy_space

from search.problem.budget import parse_budget
from search.problem.objectives import Objective, parse_objectives
from search.problem.problem import Problem
from search.study.warm_start import initial_archs
from search.utils.units import quantity
from space import InputError, macs, params

SPACE = toy_space()
FULL = macs(SPACE.largest(), SPACE.shape)


def limits(values, **others):
    return {each.name: each.most for each in parse_budget(values, SPACE, **others).limits}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("macs=0.8G", {"macs": 0.8e9}),
        ("macs=800M", {"macs": 0.8e9}),
        ("macs = 8e8", {"macs": 0.8e9}),
        ("macs=800_000_000", {"macs": 0.8e9}),
        ("flops=1.6G", {"macs": 0.8e9}),
        ("macs=60%", {"macs": FULL * 0.6}),
        ("flops=60%", {"macs": FULL * 0.6}),
        ("params=12M, tokens=1.5K", {"params": 12e6, "tokens": 1500}),
        ("params=300k", {"params": 300e3}),
        (["params=12M", "macs=1T"], {"params": 12e6, "macs": 1e12}),
        ({"macs": 0.8e9, "tokens": "50%"}, {"macs": 0.8e9, "tokens": 6 * 196 / 2}),
        ("activation_memory=.5M", {"activation_memory": 5e5}),
        (None, {}),
        ({}, {}),
    ],
)
def test_amounts(text, expected):
    assert limits(text) == pytest.approx(expected)


def test_an_arch_is_inside_that_costs_exactly_the_limit():
    full = SPACE.largest()
    assert parse_budget({"macs": FULL}, SPACE).inside(full)
    assert parse_budget("macs=100%, params=100%, tokens=100%", SPACE).inside(full)
    assert not parse_budget({"macs": FULL - 1}, SPACE).inside(full)
    assert not parse_budget({"params": params(full, SPACE.shape) - 1}, SPACE).inside(full)


def test_a_range_has_a_lower_limit_too():
    full = SPACE.largest()
    (limit,) = parse_budget("macs=45%..70%", SPACE).limits
    assert (limit.least, limit.most) == pytest.approx((0.45 * FULL, 0.7 * FULL))
    assert not limit.allows(full)
    assert parse_budget(f"macs={FULL}..{FULL}", SPACE).inside(full)
    assert not parse_budget(f"macs={FULL + 1}..{2 * FULL}", SPACE).inside(full)
    (limit,) = parse_budget("flops=1G..1.6G", SPACE).limits
    assert (limit.least, limit.most) == (0.5e9, 0.8e9)
    assert str(limit) == "macs=500M..800M (flops=1G..1.6G)"
    own = Objective("watts", "min", lambda arch: 5.0)
    (limit,) = parse_budget("watts=40%..100%", SPACE, [own]).limits
    assert (limit.least, limit.most, limit.allows(full)) == (2.0, 5.0, True)


def test_the_first_archs_of_a_search_are_spread_over_a_range():
    objectives = parse_objectives(["top1", "macs"])
    archs = initial_archs(Problem(SPACE, objectives, parse_budget("macs=60%..80%", SPACE)), 0)
    shares = [macs(arch, SPACE.shape) / FULL for arch in archs]
    # Two rungs are empty in so small a space; few were left that began at the smallest arch.
    assert 0.6 <= min(shares) < 0.62
    assert 0.74 < max(shares) <= 0.8
    assert len(archs) >= 8


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("macs=70%..50%", "budget macs: the range '70%..50%' is empty; the first is larger"),
        ("macs=45..85%", "the range '45..85%' has a unit at its end alone; write 45%..85%"),
        ("macs=1..2M", "the range '1..2M' has a unit at its end alone; write 1M..2M"),
        ("macs=..50%", "budget macs: must be a number such as 0.8G, 12M or 60%, over 0, got ''"),
        ("macs=1G..x", "budget macs: must be a number such as 0.8G, 12M or 60%, over 0, got 'x'"),
        ("top1=0.5..0.7", "budget top1: must be a number such as 0.8G, 12M or 60%, over 0, got "),
    ],
)
def test_invalid_ranges(text, error):
    with pytest.raises(InputError, match=re.escape(error)):
        parse_budget(text, SPACE)


def test_two_budgets_together_limit_each_cost_once_the_tighter_way():
    one = parse_budget("macs=45%..80%, top1=0.7", SPACE)
    other = parse_budget("macs=60%, params=90%, kl=0.1", SPACE)
    both = one.within(other)
    assert {*both.constraints} == {*one.constraints, *other.constraints}
    full = macs(SPACE.largest(), SPACE.shape)
    limits = {limit.name: (limit.least, limit.most) for limit in both.limits}
    assert limits["macs"] == pytest.approx((0.45 * full, 0.6 * full))
    assert {limit.name for limit in both.limits} == {"macs", "params"}
    assert {limit.name: (limit.least, limit.most) for limit in other.within(one).limits} == limits
    rng = np.random.default_rng(0)
    for arch in (SPACE.sample(rng) for _ in range(300)):
        assert both.inside(arch) == (one.inside(arch) and other.inside(arch))


def test_macs_are_echoed_as_flops_too():
    assert str(parse_budget("flops=1.6G", SPACE)) == "macs=800M (flops=1.6G)"
    assert str(parse_budget("params=12M, latency_ms=3", SPACE)) == "params=12M, latency_ms<=3"
    assert str(parse_budget(None, SPACE)) == "none"


def test_a_budget_on_a_metric_is_a_constraint():
    budget = parse_budget("latency_ms=3, top1=0.7", SPACE)
    assert budget.limits == ()
    latency, top1 = budget.constraints
    assert latency.excess({"latency_ms": 3.5}) == pytest.approx(0.5)
    assert latency.excess({"latency_ms": 3.0}) == 0
    assert top1.excess({"top1": 0.6}) == pytest.approx(0.1), "of accuracy, at least so much"
    assert budget.inside(SPACE.largest()), "what is not known yet refuses nothing"


def test_an_objectives_direction_says_which_way_its_budget_goes():
    objectives = parse_objectives("miou=max")
    (constraint,) = parse_budget("miou=0.5", SPACE, objectives).constraints
    assert constraint.excess({"miou": 0.4}) > 0


def test_a_function_of_the_arch_can_be_budgeted_before_evaluation():
    own = Objective("pools", "min", lambda arch: sum(b.pool is not None for b in arch.blocks) + 1)
    budget = parse_budget({"pools": 1}, SPACE, [own])
    assert budget.inside(SPACE.largest())
    assert not budget.inside(SPACE.smallest())
    assert limits({"pools": "200%"}, objectives=[own]) == {"pools": 2}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("macs", ["NAME=AMOUNT", "'macs'"]),
        ("macs=", ["macs", "a number such as", "''"]),
        ("macs=lots", ["macs", "'lots'"]),
        ("macs=1.2.3", ["'1.2.3'"]),
        ("macs=3Q", ["'3Q'"]),
        ("macs=0", ["over 0", "'0'"]),
        ("macs=-1G", ["over 0"]),
        ({"macs": float("nan")}, ["over 0", "nan"]),
        ({"macs": float("inf")}, ["over 0"]),
        ({"macs": True}, ["over 0", "True"]),
        ({"macs": None}, ["over 0", "None"]),
        ("macs=1G, flops=2G", ["'macs'", "twice"]),
        ("macs=1G, macs=2G", ["'macs'", "twice"]),
        ("mcas=1G", ["'mcas'", "did you mean 'macs'", "params"]),
        ("param=1G", ["did you mean 'params'"]),
        ("latency_ms=60%", ["latency_ms", "per cent", "free"]),
        ("a b=3", ["NAME=AMOUNT"]),
        (3, ["NAME=AMOUNT", "3"]),
        ([3], ["NAME=AMOUNT", "3"]),
    ],
)
def test_what_is_no_budget_is_refused_in_a_line(text, words):
    with pytest.raises(InputError) as caught:
        parse_budget(text, SPACE)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.8e9, "800M"), (1.25e9, "1.25G"), (12e6, "12M"), (3.1, "3.1"), (1e12, "1T"), (0, "0")],
)
def test_quantities_read_as_people_write_them(value, text):
    assert quantity(value) == text
