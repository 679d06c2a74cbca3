"""Results of one evaluation are not taken for those of another, in the same folder."""

import functools
import logging
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from search_toys import Evaluate, noise, with_options
from stored import SPACE, stored, study_in

from search import run_search
from search.distributed.study_actor import StudyHost
from search.study.origin import describe_callable, describe_origin
from search.study.storage import JOURNAL
from space import InputError
from space.utils.yaml_file import read_yaml, write_yaml

SCALE = 0.5
LOG = logging.getLogger(__name__)
TOYS = Evaluate(SPACE)


def plain(arch):
    """By plain values and functions alone."""
    LOG.debug("evaluated")
    return {"top1": SCALE * helper(str(arch))}


def helper(text):
    return noise(text) if text else 0.0


def other(arch):
    LOG.debug("evaluated")
    return {"top1": 2.0 * SCALE * helper(str(arch))}


def with_object(arch):
    return TOYS(arch)


class Stateless:
    def __init__(self):
        self.scale = SCALE

    def __call__(self, arch):
        return {"top1": self.scale * helper(str(arch))}


def closure(scale):
    def evaluate(arch):
        return {"top1": scale * helper(str(arch))}

    return evaluate


def search(folder, evaluate=plain, trials=6, **others):
    return run_search(
        **with_options(space=SPACE, evaluate=evaluate, trials=trials, folder=folder, **others)
    )


def refused(folder, words, evaluate=plain, trials=6, **others):
    """Nothing is evaluated nor changed, and it is one line that says what would be right."""
    before = (folder / JOURNAL).read_bytes(), (folder / "search.yaml").read_bytes()
    with pytest.raises(InputError, match=words) as caught:
        search(folder, evaluate, trials, **others)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{folder}: ")
    assert " folder" in str(caught.value).removeprefix(f"{folder}: ")
    assert ((folder / JOURNAL).read_bytes(), (folder / "search.yaml").read_bytes()) == before


@pytest.mark.parametrize("evaluate", [plain, closure(0.5), functools.partial(closure(0.5))])
def test_a_function_of_plain_values_goes_on_and_another_is_refused(tmp_path, evaluate):
    search(tmp_path, evaluate)
    assert search(tmp_path, evaluate, 9).evaluations == 9
    for another in (other, closure(0.25)):
        for trials in (9, 12):
            refused(tmp_path, "come from other code, or from other values in it", another, trials)


def test_a_value_that_a_function_uses_is_compared_too(tmp_path, monkeypatch):
    search(tmp_path)
    monkeypatch.setattr(sys.modules[__name__], "SCALE", 0.25)
    refused(tmp_path, "other code, or from other values")
    monkeypatch.undo()
    monkeypatch.setattr(sys.modules[__name__], "helper", lambda text: 0.5)
    refused(tmp_path, "other code, or from other values")


def test_code_is_the_same_however_often_it_ran_and_in_every_process():
    code = "from pathlib import Path; from search.study.origin import describe_callable as d\n" + (
        "def f(arch, k=3):\n"
        "    try:\n"
        "        return {'top1': 1.5 if k in {'b', 'a', 'c'} else [x * k for x in (1, 2)]}\n"
        "    except ValueError: return lambda: k\n"
        "g = f\n"
        "before = d(f)\n"
        "for _ in range(3000): f(1)\n"
        "print(before == d(f), d(f)['code'], d(g)['code'])"
    )
    told = set()
    for seed in "123":
        env = {"PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parents[3])}
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env
        )
        told.add(done.stdout)
    (line,) = told
    same, one, two = line.split()
    assert same == "True"
    assert one == two


def test_names_and_docstrings_do_not_matter_and_what_is_done_does():
    def one(arch):
        """A docstring."""
        value = 3
        return {"top1": value}

    def two(network):
        """Another."""
        number = 3
        return {"top1": number}

    def three(arch):
        """A docstring."""
        value = 4
        return {"top1": value}

    assert describe_callable(one) == describe_callable(two)
    assert describe_callable(one) != describe_callable(three)
    assert describe_callable(lambda arch: arch + 1) != describe_callable(lambda arch: arch + 2)
    assert describe_callable(lambda arch: arch.a) != describe_callable(lambda arch: arch.b)
    assert describe_callable(lambda arch, k=1: k) != describe_callable(lambda arch, k=2: k)
    assert "code" in describe_callable(Stateless)


def test_what_is_used_again_and_again_is_read_once():
    scope = {"__name__": __name__}
    for i in range(60):
        exec(f"def f{i}(arch): return f{i + 1}(arch) + f{i + 2}(arch)", scope)
    exec("def f60(arch): return f0(arch)\ndef f61(arch): return 1", scope)
    one = describe_callable(scope["f0"])
    exec("def f61(arch): return 2", scope)
    assert one.keys() == {"code"}
    assert describe_callable(scope["f0"]) != one


@pytest.mark.parametrize(
    ("evaluate", "why"),
    [
        (TOYS, "it is of type Evaluate"),
        (TOYS.__call__, "it is of type method"),
        (with_object, "it uses `TOYS`, of type Evaluate"),
        (lambda arch: {**TOYS(arch)}, "it uses `TOYS`, of type Evaluate"),
        (functools.partial(lambda toys, arch: toys(arch), TOYS), "it is of type Evaluate"),
        (closure(torch.tensor(0.5)), "it uses `scale`, of type Tensor"),
        ({}.get, "it is of type builtin_function_or_method"),
    ],
)
def test_what_code_does_not_tell_is_not_taken_for_the_same(evaluate, why):
    one, two = describe_callable(evaluate), describe_callable(evaluate)
    assert one.keys() == {"run", "why"}
    assert why in one["why"]
    assert one["run"] != two["run"]


def test_where_code_cannot_tell_a_folder_with_results_needs_a_name(tmp_path):
    front = search(tmp_path, TOYS)
    for evaluate, trials in ((TOYS, 6), (Evaluate(SPACE), 9)):
        refused(
            tmp_path,
            "this one: it is of type Evaluate, which cannot be compared; .* give origin='NAME'",
            evaluate,
            trials,
        )
    refused(tmp_path, "the old evaluation cannot be compared", plain)
    # The user's word, which is kept from now on.
    assert search(tmp_path, TOYS, origin="toys") == front
    assert read_yaml(tmp_path / "search.yaml").data["origin"] == {"name": "toys"}
    assert search(tmp_path, Evaluate(SPACE), 9, origin="toys").evaluations == 9
    refused(tmp_path, "origin.name was 'toys' .* and is 'others'", TOYS, 9, origin="others")
    refused(tmp_path, "have the origin 'toys'; .* give origin='toys'", TOYS, 9)
    refused(tmp_path, "have the origin 'toys'; .* give origin='toys'", plain, 9)


def test_a_name_stands_for_code_that_has_changed(tmp_path):
    search(tmp_path, plain)
    refused(tmp_path, "other code", other)
    assert search(tmp_path, other, 9, origin="the same").evaluations == 9


def test_results_whose_origin_nobody_noted_need_a_name(tmp_path):
    search(tmp_path, plain)
    data = read_yaml(tmp_path / "search.yaml").data
    write_yaml(tmp_path / "search.yaml", data | {"origin": {}})
    refused(tmp_path, "its origin was not stored")
    assert search(tmp_path, plain, 9, origin="noted").evaluations == 9


@pytest.mark.parametrize("evaluate", [TOYS, plain])
def test_a_folder_without_results_never_complains(tmp_path, evaluate):
    def broken(arch):
        raise ValueError("a mistake")

    for wrong in (broken, functools.partial(broken)):
        with pytest.raises(InputError, match="none of the first 10"):
            search(tmp_path, wrong, 20)
    # Nor of objectives, budgets and seeds that nothing was measured for.
    other_values = {"objectives": ["tokens=max", "macs", "top1"], "budget": "macs=80%", "seed": 3}
    assert search(tmp_path, evaluate, 20, **other_values).evaluations == 20
    assert study_in(tmp_path).metric_names == ["tokens", "macs", "top1"]
    assert len(read_yaml(tmp_path / "search.yaml").data["objectives"]) == 3


def test_what_makes_the_evaluation_is_known_the_same_way(tmp_path):
    def made(maker, trials, **others):
        return run_search(
            space=SPACE, make_evaluate=maker, trials=trials, folder=tmp_path, **others
        )

    made(Stateless, 6)
    assert made(Stateless, 9).evaluations == 9
    with pytest.raises(InputError, match="other code"):
        made(lambda: plain, 9)


def test_a_study_that_is_started_again_on_the_way_is_the_same(tmp_path, monkeypatch):
    """Its process is, by Ray: with the values that the call had."""
    planned = []

    def note(search, *_):
        planned.append(search)
        raise InputError("noted")

    monkeypatch.setattr("search.run.search_here", note)
    with pytest.raises(InputError, match="noted"):
        search(tmp_path, TOYS)
    from search.problem.evaluation import Outcome  # noqa: PLC0415

    for done in (1, 2):
        host = StudyHost(planned[0], workers=1)
        (job,) = host.call("exchange", "a", [], [])
        host.call("exchange", "a", [(job, Outcome({"top1": 0.5}))], [])
        assert host.status().progress.done == done
        host.close()
    assert len(stored(tmp_path)) == 2


def test_evaluations_of_a_callable_that_nobody_knows_are_not_reused(tmp_path):
    search(tmp_path / "a", TOYS)
    with pytest.raises(InputError, match=r"cannot be reused: .*; give both the same origin='NAME'"):
        search(tmp_path / "b", TOYS, reuse=[tmp_path / "a"])
    search(tmp_path / "a", TOYS, origin="toys")
    evaluate = Evaluate(SPACE)
    search(tmp_path / "b", evaluate, reuse=[tmp_path / "a"], origin="toys")
    assert evaluate.seen == []


@pytest.mark.parametrize("origin", ["", "  ", 3])
def test_a_name_that_is_none_is_refused(tmp_path, origin):
    with pytest.raises(InputError, match="origin: must be a name of the evaluation, got"):
        search(tmp_path, origin=origin)
    assert describe_origin({"split": 1}, plain) == {"split": 1}


# Supernets and loaders.


def test_results_without_a_digest_of_maps_are_reused(tmp_path):
    """Earlier versions stored none."""
    search(tmp_path / "a", TOYS, origin={"supernet": "s"})
    evaluate = Evaluate(SPACE)
    new = {"supernet": "s", "maps": "m"}
    search(tmp_path / "b", evaluate, reuse=[tmp_path / "a"], origin=new)
    assert evaluate.seen == []
    with pytest.raises(InputError, match="cannot be reused: its evaluations are of another back"):
        search(tmp_path / "c", TOYS, reuse=[tmp_path / "b"], origin=new | {"maps": "others"})
