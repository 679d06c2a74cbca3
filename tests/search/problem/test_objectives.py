import pytest

from search.problem.objectives import DEFAULT, Objective, parse_objectives
from space import InputError


def test_names_of_metrics_and_of_costs_have_their_direction():
    found = parse_objectives(["top1", "top5", "cross_entropy", "kl", "macs", "params", "tokens"])
    assert [each.direction for each in found] == ["max"] * 2 + ["min"] * 5
    assert [each.measured for each in found] == [True] * 4 + [False] * 3
    assert [each.sign for each in found] == [-1] * 2 + [1] * 5


def test_the_default_is_accuracy_against_macs():
    assert [str(each) for each in parse_objectives(DEFAULT)] == ["top1=max", "macs=min"]


def test_one_name_alone_is_one_objective():
    assert parse_objectives("top1") == (Objective("top1", "max"),)


def test_a_metric_of_ones_own_comes_with_its_direction():
    found = parse_objectives(["latency_ms=min", " miou = max "])
    assert [(each.name, each.direction) for each in found] == [
        ("latency_ms", "min"),
        ("miou", "max"),
    ]


def test_the_evaluations_own_metrics_need_no_direction():
    (found,) = parse_objectives("miou", directions={"miou": "max"})
    assert found.direction == "max"


def test_a_function_of_the_arch_is_not_measured():
    function = Objective("blocks", "min", lambda arch: arch.depth)
    assert parse_objectives([function])[0] is function
    assert not function.measured


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ("top_1", ["top_1", "did you mean 'top1'", "top_1=max"]),
        ("mac", ["'mac'", "did you mean 'macs'"]),
        ("speed", ["'speed'", "speed=max"]),
        ("top1=up", ["top1", "max, min", "'up'"]),
        ("top1=mex", ["did you mean 'max'"]),
        ("two words=max", ["one word", "two words"]),
        (["top1", "top1"], ["'top1'", "twice"]),
        (["top1", "top1=min"], ["twice"]),
        ([], ["at least one", "top1"]),
        ([3], ["names", "3"]),
    ],
)
def test_what_is_no_objective_is_refused_in_a_line(values, words):
    with pytest.raises(InputError) as caught:
        parse_objectives(values)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message
