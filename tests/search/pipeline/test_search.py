"""Random archs that a search is compared with."""

from dataclasses import replace

import pytest
from search_toys import all_archs, problem_of
from stages_config import CONFIG

from search.cli.main import main
from search.cli.parse import parse_call
from search.pipeline.context import RunContext
from search.pipeline.search import find_best_random
from search.study.storage import read_trials
from search.study.trial_format import read_records
from space import InputError, macs


@pytest.fixture(scope="module")
def call(tmp_path_factory):
    """A run whose supernet is trained."""
    folder = tmp_path_factory.mktemp("random")
    file = folder / "toy.yaml"
    file.write_text(CONFIG)
    command = ["train", str(file), "--run", str(folder / "run")]
    assert main(command) == 0
    return parse_call(["retrain", *command[1:]])


@pytest.mark.parametrize("retry", [False, True])
def test_those_that_failed_are_evaluated_again_where_that_is_asked_for(call, monkeypatch, retry):
    calls = []

    class Evaluator:
        """Every second evaluation fails, until it is mended."""

        mended = False

        def __init__(self, run, precision):
            pass

        def __call__(self):
            def evaluate(arch):
                calls.append(arch)
                if len(calls) % 2 == 0 and not Evaluator.mended:
                    raise OSError("the GPU is broken")
                return {"top1": 0.5 + len(calls) / 100}

            return evaluate

    monkeypatch.setattr("search.pipeline.search.RunEvaluator", Evaluator)
    space = RunContext(call.config, call.file).space
    name = f"retry{retry}"
    config = replace(call.config, search=replace(call.config.search, name=name))

    def records(config):
        run = RunContext(config, call.file, quiet=True)
        find_best_random(run, 6, "95%")
        return read_records(read_trials(run.folder.search / "random_95"), problem_of(space))

    before = records(config)
    assert sum(record.error is not None for record in before) == 3
    Evaluator.mended = True
    after = records(replace(config, search=replace(config.search, retry_failed=retry)))
    assert sum(record.error is not None for record in after) == (0 if retry else 3)
    assert len(calls) == (9 if retry else 6)


def test_the_random_control_is_inside_the_budget_of_the_search_too(call, monkeypatch):
    """Below a range nothing is searched, and a supernet may not have been trained there."""
    search = replace(call.config.search, budget="macs=55%..95%")
    run = RunContext(replace(call.config, search=search), call.file, quiet=True)
    full, drawn = macs(run.space.largest(), run.space.shape), []

    def evaluate(run, problem, *args, initial, **values):
        drawn.extend(initial)
        raise InputError("enough")

    monkeypatch.setattr("search.pipeline.search.run_supernet_search", evaluate)
    with pytest.raises(InputError, match="enough"):
        find_best_random(run, 40, "90%")
    shares = [macs(arch, run.space.shape) / full for arch in drawn]
    inside = [macs(arch, run.space.shape) / full for arch in all_archs(run.space)]
    assert min(inside) < 0.55
    assert sorted(shares) == sorted(each for each in inside if 0.55 <= each <= 0.9)
