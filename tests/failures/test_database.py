"""Trials in PostgreSQL: a server that restarts, stays away, or answers no more; two writers."""

import os
import random
import shutil
import signal
import time

import pytest
import yaml
from killing import kill_and_go_on, summed
from postgres import Server, program
from proxy import Proxy
from search_toys import Evaluate
from searching import SPACE, search
from started import evaluated, start, wait_for

from search.run import run_search
from search.study import database
from search.study.options import SearchOptions
from search.study.search_file import SEARCH_FILE
from search.study.storage import JOURNAL
from space import InputError

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(
        program("initdb") is None or program("pg_ctl") is None,
        reason="no PostgreSQL server is installed: initdb and pg_ctl are not there",
    ),
]
TRIALS = 30


@pytest.fixture(scope="module")
def server():
    pytest.importorskip("psycopg", reason="pip install 'tokennas[postgres]'")
    server = Server()
    yield server
    server.remove()


def study_of(folder):
    return yaml.safe_load((folder / "search" / SEARCH_FILE).read_text())["study"]


def in_database(server, folder):
    """Identities of the stored trials, doubled ones too."""
    begun = (folder / "search" / SEARCH_FILE).exists()
    return server.identities(study_of(folder)) if begun else []


def missing_and_doubled(server, folder, before):
    """Of what was stored before: how much is missing now; and how much is stored twice."""
    now = in_database(server, folder)
    assert len(set(now)) == TRIALS
    assert not (folder / "search" / JOURNAL).exists()
    return len(set(before) - set(now)), len(now) - len(set(now))


def test_a_search_goes_on_by_itself_when_the_server_restarts(tmp_path, server, ledger):
    rng, injected, lost, doubled, longest = random.Random(0), ledger.times(5, few=2), 0, 0, 0.0
    for number in range(injected):
        folder, workers = tmp_path / str(number), 2 * (number % 2)
        process = start(folder, trials=TRIALS, workers=workers, seconds=0.1, storage=server.url)
        least = rng.randrange(1, 15)
        wait_for(lambda f=folder, n=least: evaluated(f).total() >= n)
        server.stop(("fast", "immediate")[number % 2 if injected == 2 else number // 2 % 2])
        time.sleep(rng.uniform(0, 3))
        assert process.poll() is None
        server.start()
        began, before = time.monotonic(), in_database(server, folder)
        wait_for(lambda f=folder, b=before: len(in_database(server, f)) > len(b))
        longest = max(longest, time.monotonic() - began)
        assert process.wait(timeout=90) == 0
        missing, twice = missing_and_doubled(server, folder, before)
        # Nor was anything evaluated in vain, or again.
        assert evaluated(folder) == dict.fromkeys(in_database(server, folder), 1)
        lost, doubled = lost + missing, doubled + twice
    ledger.add(
        12,
        "PostgreSQL restarted during a search, stopped or crashed",
        injected,
        lost=lost,
        doubled=doubled,
        seconds=longest,
        told="nothing: the search goes on by itself",
    )


def test_what_was_committed_unanswered_is_not_stored_again(tmp_path, server, ledger):
    """Optuna tries again where a connection breaks, whether the trial is there or not."""
    injected = ledger.times(20, few=5)
    # Those before are of the study itself; the look for a trial ends with a commit too.
    proxy = Proxy(server.port, range(15, 15 + 3 * injected, 3))
    url = server.url.replace(f":{server.port}/", f":{proxy.port}/")
    search(tmp_path, TRIALS, workers=0, storage=url)
    proxy.close()
    missing, doubled = missing_and_doubled(server, tmp_path, evaluated(tmp_path))
    assert proxy.failed_workers == injected
    ledger.add(
        13,
        "connection to PostgreSQL lost after a commit, before its answer",
        injected,
        lost=missing,
        doubled=doubled,
        told="nothing: the search checks whether the trial is stored",
    )


def test_a_killed_driver_loses_nothing_that_was_stored(tmp_path, server, ledger):
    kills = [
        kill_and_go_on(
            tmp_path / str(number),
            number,
            workers=2 * (number % 2),
            storage=server.url,
            stored=lambda folder: in_database(server, folder),
        )
        for number in range(ledger.times(4, few=1))
    ]
    ledger.add(2, "kill -9 of the driver of a search, trials in PostgreSQL", **summed(kills))


def test_a_server_that_stays_away_is_told_in_a_line_and_the_search_goes_on_later(
    tmp_path, server, monkeypatch
):
    monkeypatch.setattr(database, "MAX_OUTAGE_SECONDS", 2.0)
    evaluate, folder = Evaluate(SPACE), tmp_path / "search"

    def stopping(arch):
        if len(evaluate.seen) == 7:
            server.stop()
        return evaluate(arch)

    with pytest.raises(
        InputError, match=r"unreachable for 2 seconds .* the same command resumes"
    ) as told:
        run(folder, stopping, server.url)
    assert "\n" not in str(told.value)
    began = time.monotonic()
    with pytest.raises(InputError, match=r"storage postgresql.*refused") as refused:
        run(folder, evaluate, server.url)
    assert time.monotonic() - began < 2.0, "a search that has not begun need not wait"
    assert "\n" not in str(refused.value)
    assert "loopback" not in str(told.value) + str(refused.value), "no password is shown"
    server.start()
    assert run(folder, evaluate, server.url).evaluations == TRIALS
    assert len(set(in_database(server, tmp_path))) == TRIALS


def run(folder, evaluate, url):
    return run_search(
        space=SPACE,
        evaluate=evaluate,
        trials=TRIALS,
        folder=folder,
        options=SearchOptions(storage=url),
        origin="toy",
    )


@pytest.mark.parametrize("workers", [0, 2])
def test_a_second_command_on_a_copied_folder_is_refused_by_name_of_the_first(
    tmp_path, server, ledger, workers
):
    """As on another machine, where the lock of the folder says nothing."""
    first = start(tmp_path / "a", trials=TRIALS, workers=workers, seconds=0.3, storage=server.url)
    wait_for(lambda: evaluated(tmp_path / "a").total() >= 3)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    with pytest.raises(InputError, match=rf"process {first.pid} on .*another name") as refused:
        run_copy(tmp_path / "b", server.url)
    assert "\n" not in str(refused.value)
    assert first.poll() is None
    first.kill()
    first.wait()
    began, before = time.monotonic(), in_database(server, tmp_path / "a")
    # With workers the process that writes sees only after a while that the driver is dead.
    wait_for(lambda: run_copy_if_free(tmp_path / "b", server.url))
    seconds = time.monotonic() - began
    lost, doubled = missing_and_doubled(server, tmp_path / "b", before)
    ledger.add(
        11,
        f"two commands on one study in PostgreSQL, the folder copied, {workers} workers",
        1,
        lost=lost,
        doubled=doubled,
        seconds=seconds,
        told="the second is refused, naming process and host of the first",
    )


def run_copy(folder, url):
    return search(folder, TRIALS, workers=0, storage=url)


def run_copy_if_free(folder, url):
    try:
        return run_copy(folder, url)
    except InputError:
        return None


def test_a_lock_that_was_lost_to_another_command_ends_the_first_before_it_writes(tmp_path, server):
    """The first one sleeps while the server restarts, and another command begins."""
    first = start(
        tmp_path / "a", trials=TRIALS, workers=0, seconds=0.2, storage=server.url, piped=True
    )
    wait_for(lambda: evaluated(tmp_path / "a").total() >= 3)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    os.kill(first.pid, signal.SIGSTOP)
    server.stop()
    server.start()
    second = start(tmp_path / "b", trials=TRIALS, workers=0, seconds=0.2, storage=server.url)
    wait_for(lambda: evaluated(tmp_path / "b").total() > evaluated(tmp_path / "a").total())
    before = evaluated(tmp_path / "a").total()
    os.kill(first.pid, signal.SIGCONT)
    said = first.communicate(timeout=60)[1]
    assert f"another command writes to it in this database (process {second.pid} on" in said
    assert first.returncode != 0
    assert evaluated(tmp_path / "a").total() <= before + 1
    assert second.wait(timeout=60) == 0
    found = in_database(server, tmp_path / "b")
    assert len(found) == len(set(found)) == TRIALS
