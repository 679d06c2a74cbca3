"""Searches with workers, through Ray: what holds without them holds here too."""

import signal
import tempfile
import time
from collections import Counter

import pytest
from search_toys import all_archs
from searching import BUDGET, NOTES, SPACE, Noting, Together, search
from started import PATHS, PROBLEM, evaluated, start, stored, wait_for

from search import RayConfig
from search.front.front import Front
from search.run import run_search
from search.study.options import SearchOptions
from space import InputError

pytestmark = pytest.mark.cluster


@pytest.fixture(autouse=True)
def _importable(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", PATHS)


def holds(folder, trials):
    """No trial is lost, over budget or a repetition."""
    records = stored(folder)
    identities = [record.identity for record in records]
    assert len(records) == trials == len(set(identities))
    assert all(PROBLEM.budget.inside(record.arch) for record in records)
    return records


def test_every_arch_is_evaluated_once_and_stored_once(tmp_path):
    front = search(tmp_path, 60, workers=2)
    records = holds(tmp_path, 60)
    assert evaluated(tmp_path) == Counter(record.identity for record in records)
    assert front == Front.of(PROBLEM, records, front.ended)
    assert front == Front.load(tmp_path / "search" / "front.yaml")


def test_workers_share(tmp_path):
    evaluate = Together(tmp_path / NOTES, 0.0, None)
    run_search(
        space=SPACE,
        evaluate=evaluate,
        budget=BUDGET,
        trials=90,
        folder=tmp_path / "search",
        options=SearchOptions(workers=2),
    )
    records = holds(tmp_path, 90)
    assert evaluated(tmp_path) == Counter(record.identity for record in records)


def test_a_search_goes_on_with_more_workers_and_without(tmp_path):
    for trials, workers in ((20, 2), (30, 0), (40, 1)):
        search(tmp_path, trials, workers)
        holds(tmp_path, trials)
    assert set(evaluated(tmp_path).values()) == {1}


def test_a_space_is_searched_to_its_end(tmp_path):
    fitting = [arch for arch in all_archs(SPACE) if PROBLEM.budget.inside(arch)]
    search(tmp_path, 10_000, workers=2)
    records = holds(tmp_path, len(fitting))
    assert {r.identity for r in records} == {SPACE.identity(arch) for arch in fitting}


def test_an_arch_that_kills_its_worker_fails_after_three_and_the_others_are_done(tmp_path):
    killer = SPACE.identity(search(tmp_path / "first", 1, workers=0).entries[0].arch)
    search(tmp_path, 12, workers=2, kills=killer)
    failed = [record for record in holds(tmp_path, 12) if not record.metrics]
    assert [record.identity for record in failed] == [killer]
    assert "3 times" in failed[0].error
    assert killer not in evaluated(tmp_path)


def test_a_killed_driver_loses_nothing_that_was_stored(tmp_path):
    for least in (6, 14):
        process = start(tmp_path, trials=40, workers=2, seconds=0.2)
        wait_for(lambda least=least: evaluated(tmp_path).total() >= least)
        process.kill()
        assert process.wait(timeout=10) == -signal.SIGKILL
        wait_for(lambda: lock_is_free(tmp_path))
        kept = {record.identity for record in stored(tmp_path)}
        before = evaluated(tmp_path)
        assert len(kept) >= least - 4, "at most what the workers had was not stored"
        assert kept <= set(before)
    process = start(tmp_path, trials=40, workers=2)
    assert process.wait(timeout=90) == 0
    holds(tmp_path, 40)
    after = evaluated(tmp_path)
    assert all(after[identity] == before[identity] for identity in kept), "none made twice"


def lock_is_free(folder):
    """Whether the orphaned processes of a killed driver have gone, tried as a user would."""
    try:
        search(folder, 1, workers=0)
    except InputError:
        return False
    return True


def test_what_cannot_be_made_in_workers_is_told_in_one_line(tmp_path):
    def broken():
        raise ValueError("no weights here")

    with pytest.raises(InputError, match="no weights here") as caught:
        run_search(
            space=SPACE,
            make_evaluate=broken,
            trials=4,
            options=SearchOptions(workers=2),
            folder=tmp_path,
        )
    assert "\n" not in str(caught.value)


def test_what_cannot_be_sent_to_workers_is_told_in_one_line(tmp_path):
    file = (tmp_path / "open.txt").open("w")
    with file, pytest.raises(InputError, match="cannot be sent to workers") as caught:
        run_search(
            space=SPACE,
            evaluate=lambda arch: file,
            trials=4,
            options=SearchOptions(workers=2),
            folder=tmp_path,
        )
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"cpus_per_worker": 0},
            r"^cpus_per_worker: must be over 0 where workers take no GPU",
        ),
        (
            {"gpus_per_worker": 64},
            r"^gpus_per_worker: 64 for each worker, but this machine has \d+",
        ),
        (
            {"ray": RayConfig(storage_path="nowhere://a/b")},
            r"no worker is left to evaluate: Ray Tune has ended: .*nowhere",
        ),
    ],
)
def test_workers_that_could_never_work_are_told(tmp_path, options, words):
    with pytest.raises(InputError, match=words) as caught:
        search(tmp_path, 5, 2, **options)
    assert "\n" not in str(caught.value)


class NeverSent:
    """Makes an evaluator, but not where it would have to be sent to workers."""

    def __call__(self):
        return Noting

    def __reduce__(self):
        raise AssertionError("it was sent")


def test_a_search_that_is_over_or_refused_sends_nothing_to_workers(tmp_path):
    front = search(tmp_path, 10, workers=0)
    again = {"space": SPACE, "budget": BUDGET, "make_evaluate": NeverSent()}
    again |= {"origin": "toy", "options": SearchOptions(workers=1)}
    assert run_search(**again, trials=10, folder=tmp_path / "search") == front
    with pytest.raises(InputError, match="seed was 0"):
        run_search(**again, trials=20, seed=1, folder=tmp_path / "search")
    with pytest.raises(InputError, match="it was sent"):
        run_search(**again, trials=20, folder=tmp_path / "search")


def test_nothing_is_left_in_the_temporary_folder(tmp_path, monkeypatch):
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    search(tmp_path, 8, workers=2)
    time.sleep(2.0)
    assert list(folder.glob("tokennas-*")) == []


def test_a_ray_that_cannot_be_started_is_one_line(tmp_path, monkeypatch):
    # Of its sockets the paths would be too long.
    long = tmp_path / ("long" * 30)
    long.mkdir()
    monkeypatch.setenv("RAY_TMPDIR", str(long))
    with pytest.raises(InputError, match=r"^workers: Ray cannot be started: ") as caught:
        search(tmp_path, 5, workers=1)
    assert "\n" not in str(caught.value)
