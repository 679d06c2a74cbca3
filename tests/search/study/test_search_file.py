"""What a search is stored as, and what may not change under its results."""

from dataclasses import replace

import pytest
from search_toys import Evaluate, toy_space

from search.report.report import summarise_run
from search.report.run_results import read_run
from search.run import run_search
from search.study.search_file import SEARCH_FILE, SearchFile
from space import InputError, Rules, macs


def search_in(folder, space, trials=5, **values):
    return run_search(
        space=space,
        evaluate=Evaluate(space),
        objectives=["top1", "macs"],
        trials=trials,
        folder=folder,
        origin="toy",
        **values,
    )


def described(run):
    """The line on the space in the report of a run."""
    (text,) = [text for name, text in summarise_run(read_run(run, "main")) if name == "space"]
    return text


def test_rules_are_stored_and_others_are_refused(tmp_path):
    plain, folder = toy_space(), tmp_path / "search" / "main"
    space = replace(plain, rules=Rules(keep_2d=True))
    search_in(folder, space)
    assert SearchFile.load(folder).space == space != plain
    with pytest.raises(InputError, match=r"space\.rules was {'keep_2d': True} .* is not set;"):
        search_in(folder, plain)
    assert search_in(folder, space, trials=8).evaluations == 8
    choices = ", ".join(sorted(space.axes))
    assert described(tmp_path) == f"{space.size():,} distinct archs ({choices}; rules keep_2d)"


def test_without_rules_nothing_is_said_of_them(tmp_path):
    search_in(tmp_path / "search" / "main", toy_space())
    assert "rules" not in (tmp_path / "search" / "main" / SEARCH_FILE).read_text(encoding="utf-8")
    choices = ", ".join(sorted(toy_space().axes))
    assert described(tmp_path) == f"{toy_space().size():,} distinct archs ({choices})"


def test_a_search_in_a_range_evaluates_nothing_outside_and_keeps_it(tmp_path):
    space, folder = toy_space(), tmp_path / "search" / "main"
    full = macs(space.largest(), space.shape)
    front = search_in(folder, space, trials=30, budget="macs=50%..80%", sampler="EvolutionSampler")
    assert front.evaluations == 30
    records = read_run(tmp_path, "main").search.records
    shares = [each.metrics["macs"] / full for each in records]
    assert len(shares) == 30
    assert 0.5 <= min(shares) < 0.55
    assert 0.75 < max(shares) <= 0.8
    assert SearchFile.load(folder).floors == {"macs": 0.5 * full}
    summary = dict(summarise_run(read_run(tmp_path, "main")))
    assert "50% to 80% of the full network" in summary["budget"]
    with pytest.raises(InputError, match=r"with the lower limit macs=.* has no lower limit; give"):
        search_in(folder, space, trials=31, budget="macs=80%", sampler="EvolutionSampler")
