"""Several searches of one supernet, each from a seed of its own."""

import pytest

from search.cli.main import main
from search.pipeline.config import SearchConfig
from search.study.search_file import SEARCH_FILE
from search.study.storage import read_trials
from search.study.trial_format import read_metrics
from space import InputError
from space.utils.yaml_file import read_yaml


def found(run, name):
    """What a search evaluated, in its order, and the seed that it says it had."""
    folder = run / "search" / name
    return [*read_metrics(read_trials(folder))], read_yaml(folder / SEARCH_FILE).data["seed"]


def test_searches_of_other_seeds_live_beside_each_other(searched, run, capsys):
    words = ["search", str(searched), "--run", str(run), "--search.sampler", "RandomSampler"]
    for name, seed in (("first", []), ("same", [0]), ("second", [1]), ("third", [2])):
        own = [f"--search.seed={each}" for each in seed]
        assert main([*words, "--search.name", name, *own]) == 0
    first, same, second, third = (found(run, name) for name in ("first", "same", "second", "third"))
    assert first == same
    assert [seed for _, seed in (first, second, third)] == [0, 1, 2]
    assert len({tuple(archs) for archs, _ in (first, second, third)}) == 3
    words += ["--search.name", "first"]
    capsys.readouterr()
    assert main([*words, "--search.seed", "1"]) == 2
    error = capsys.readouterr().err
    assert "seed was 0 in the results that are there, and is 1" in error
    assert "search under another name (--search.name" in error
    assert main([*words, "--search.sampler_args", "{seed: 1}"]) == 2
    assert "give search.seed" in capsys.readouterr().err


def test_a_seed_below_0_is_refused():
    with pytest.raises(InputError, match=r"search\.seed: must be an integer of 0 to .*, got -1"):
        SearchConfig(seed=-1)
