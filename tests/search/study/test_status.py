"""What a search says of itself to other shells."""

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from search_toys import Evaluate, toy_space, with_options
from searching import search as slow_search

from search.run import run_search
from search.study.status import SILENT_SECONDS, STATUS_FILE, format_status, read_status
from search.utils.console import OPTIMISTIC
from space import InputError

SPACE = toy_space()


def search(folder, **values):
    return run_search(
        **with_options(space=SPACE, evaluate=Evaluate(SPACE), folder=folder, trials=30, **values)
    )


def test_a_search_that_has_ended_says_so(tmp_path):
    front = search(tmp_path)
    status = read_status(tmp_path)
    assert (status.done, status.total, status.failed) == (30, 30, 0)
    assert (status.objective, status.best) == ("top1", front.entries[0].values[0])
    assert status.ended == front.ended
    assert not status.running
    assert front.ended in format_status(status)
    assert format_status(status).startswith("ended (process ")


def test_what_earlier_versions_said_beside_it_is_passed_over(tmp_path):
    search(tmp_path)
    status, file = read_status(tmp_path), tmp_path / STATUS_FILE
    file.write_text(json.dumps(json.loads(file.read_text()) | {"forward": 0.9, "of_alone": 0.5}))
    assert read_status(tmp_path) == status


def test_its_best_is_that_of_the_first_measured_objective(tmp_path):
    seen = []
    front = search(tmp_path, objectives=["macs", "top1"], on_event=seen.append)
    status, best = read_status(tmp_path), max(e.metrics["top1"] for e in front.entries)
    assert (status.objective, status.best) == ("top1", best)
    assert (seen[-1].objective, seen[-1].best_value) == ("top1", best)
    assert seen[-1].best.metrics["top1"] == best
    assert f"best top1: {best:.2%}" in format_status(status)
    assert OPTIMISTIC in format_status(status)


def test_an_empty_front_is_said_and_a_rate_of_nothing_is_not(tmp_path):
    for _ in range(2):
        search(tmp_path, budget="top1=0.999999", origin="toys")
    said = format_status(read_status(tmp_path))
    assert "the front is empty: no evaluation has succeeded inside the budget" in said
    assert " a second" not in said


def test_without_a_measured_objective_there_is_no_best(tmp_path):
    search(tmp_path, objectives=["macs", "params"])
    status = read_status(tmp_path)
    assert (status.objective, status.best) == ("", None)
    assert "no objective is measured, so that none of the archs is the best" in format_status(
        status
    )


def test_a_running_search_is_seen_from_another_process(tmp_path):
    seen = []

    def evaluate(arch):
        if len(seen) < 3 and (tmp_path / STATUS_FILE).exists():
            code = (
                "import sys; from search.study.status import *; from pathlib import Path\n"
                "print(format_status(read_status(Path(sys.argv[1]))))"
            )
            command = [sys.executable, "-c", code, tmp_path]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            seen.append(done.stdout)
        return Evaluate(SPACE)(arch)

    run_search(space=SPACE, evaluate=evaluate, folder=tmp_path, trials=10)
    assert len(seen) == 3
    assert all(each.startswith(f"running (process {os.getpid()} on ") for each in seen)
    assert " of 10 evaluations" in seen[0]


def test_a_search_that_was_killed_is_not_running(tmp_path):
    search(tmp_path)
    status = replace(read_status(tmp_path), ended=None)
    assert status.running
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    killed = replace(status, pid=child.pid)
    assert not killed.running
    assert format_status(killed).splitlines()[-1] == "the same command goes on from here"
    elsewhere = replace(status, host="elsewhere")
    assert elsewhere.running
    assert not replace(elsewhere, time=time.time() - SILENT_SECONDS - 1).running
    # A clock that was set back by an hour.
    assert not replace(elsewhere, time=time.time() + 3600).running


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"pid": 1}', "\x00"])
def test_a_file_that_is_no_status_is_one_line(tmp_path, content):
    (tmp_path / STATUS_FILE).write_text(content)
    with pytest.raises(InputError, match=STATUS_FILE) as caught:
        read_status(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("pid", 0), ("pid", 1 << 40), ("total", 0), ("done", []), ("done", 1 << 80)],
        *[("rate", "x"), ("time", float("nan")), ("best", {}), ("failed", True)],
        *[("ended", 5), ("host", None)],
    ],
)
def test_a_value_that_no_search_says_is_refused_by_name(tmp_path, name, value):
    search(tmp_path)
    said = json.loads((tmp_path / STATUS_FILE).read_text())
    (tmp_path / STATUS_FILE).write_text(json.dumps(said | {name: value}))
    with pytest.raises(InputError, match=rf"{STATUS_FILE}:.*: .*{name}"):
        read_status(tmp_path)


def test_where_no_search_has_begun(tmp_path):
    with pytest.raises(InputError, match="no search has begun"):
        read_status(tmp_path)


def test_it_is_written_now_and_then_and_at_the_end(tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr("search.study.status.write_text", lambda path, text: written.append(text))
    search(tmp_path)
    done = [json.loads(each)["done"] for each in written]
    assert done[0] == 0
    assert done[-1] == 30
    assert len(done) < 10


@pytest.mark.cluster
def test_with_workers_it_counts_them_and_what_they_evaluate(tmp_path, monkeypatch):
    folders = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2] / "space")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(folders))
    seen = []
    slow_search(tmp_path, trials=40, workers=2, seconds=0.1, on_event=seen.append)
    assert max(each.workers for each in seen) == 2
    assert 1 <= max(each.leased for each in seen) <= 40
    assert read_status(tmp_path / "search").ended is not None


def test_what_was_told_last_is_there_after_a_search_was_stopped(tmp_path):
    calls = []

    def evaluate(arch):
        calls.append(arch)
        if len(calls) > 7:
            raise KeyboardInterrupt
        return Evaluate(SPACE)(arch)

    with pytest.raises(KeyboardInterrupt):
        run_search(space=SPACE, evaluate=evaluate, folder=tmp_path, trials=30)
    assert read_status(tmp_path).done == 7


def test_of_workers_it_speaks_while_it_runs(tmp_path):
    search(tmp_path)
    status = replace(read_status(tmp_path), workers=2, leased=9)
    words = "workers alive: 2, archs being evaluated: 9"
    assert words not in format_status(status)
    assert words in format_status(replace(status, ended=None))
