"""Arguments of `run_search`: those of earlier versions, and those that exclude each other."""

import warnings

import pytest
from latency_toys import table_of
from search_toys import Evaluate, problem_of, toy_space

from search import RayConfig, SearchOptions, Workers, run_search
from search.run import _merge_moved
from space import InputError

SPACE = toy_space()


def searched(**values):
    return run_search(space=SPACE, evaluate=Evaluate(SPACE), trials=12, origin="toy", **values)


def test_an_argument_of_earlier_versions_does_what_its_option_does_and_warns(tmp_path):
    table = table_of(SPACE)
    wanted = searched(budget="latency_ms=80%", options=SearchOptions(latency=[table]))
    for latency in (table, [table], (table,)):
        with pytest.warns(DeprecationWarning, match=r"SearchOptions\(latency=\.\.\.\)"):
            front = searched(budget="latency_ms=80%", latency=latency)
        assert front.entries == wanted.entries
    searched(folder=tmp_path / "a")
    with pytest.warns(DeprecationWarning, match="reuse"):
        front = searched(folder=tmp_path / "b", reuse=tmp_path / "a")
    assert front.entries == searched(folder=tmp_path / "a").entries


def test_workers_are_taken_apart():
    workers = Workers(2, 0.5, 0.25, RayConfig("127.0.0.1:6379"))
    with pytest.warns(DeprecationWarning, match="workers"):
        options = _merge_moved(SearchOptions(), {"workers": workers})
    assert options == SearchOptions(2, 0.5, 0.25, RayConfig("127.0.0.1:6379"))


def test_options_do_not_warn_and_other_arguments_are_unknown():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        searched(options=SearchOptions(time_limit=60.0))
    with pytest.raises(TypeError, match="unexpected keyword argument 'wrokers'"):
        searched(wrokers=2)


@pytest.mark.parametrize(
    "given",
    [{"budget": "macs=50%"}, {"objectives": ["macs"]}, {"directions": {}}, {"space": SPACE}],
)
def test_a_ready_problem_comes_alone(given):
    values = {"problem": problem_of(SPACE), "evaluate": Evaluate(SPACE), "trials": 5}
    assert run_search(**values).evaluations == 5
    with pytest.raises(InputError, match="a problem comes alone"):
        run_search(**values, **given)
