"""What evaluates dies: a worker, the actor that holds the study, a whole node."""

import contextlib
import os
import random
import signal
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from ray_cluster import Cluster, children_of, new_token
from search_toys import problem_of
from searching import BUDGET, NOTES, QUICK, SPACE, search

from search import RayConfig
from search.study.storage import JOURNAL, read_trials
from search.study.trial_format import read_records

pytestmark = pytest.mark.cluster

TESTS = Path(__file__).parent.parent
PROBLEM = problem_of(SPACE, budget=BUDGET)
TRIALS = 300
PATIENCE = 180


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """Modules are found by all processes, and clusters ask for a token."""
    paths = os.pathsep.join([str(TESTS / "search"), str(TESTS / "space")])
    monkeypatch.setenv("PYTHONPATH", paths)
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", new_token())


class Injecting(threading.Thread):
    """Injects a fault again and again into the search in a folder, then lets it end.

    Attributes:
        finished: identity of each evaluation that was stored before a fault, and how often it had
            been made by then.
        longest: seconds from a fault to the next stored evaluation.
        error: what went wrong here.
    """

    def __init__(self, folder, inject, times):
        super().__init__()
        self.folder, self.inject, self.times = folder, inject, times
        self.finished, self.longest, self.error = {}, 0.0, None
        self.start()

    def run(self):
        rng = random.Random(self.times)
        try:
            for _ in range(self.times):
                self._wait_for_more(3)
                time.sleep(rng.uniform(0, 0.5))
                before, made = stored(self.folder), evaluated(self.folder)
                self.finished |= {identity: made[identity] for identity in before}
                self.inject()
                began = time.monotonic()
                self._wait_for_more(1)
                self.longest = max(self.longest, time.monotonic() - began)
        except BaseException as error:
            self.error = error
        (self.folder / QUICK).touch()

    def _wait_for_more(self, count):
        least, ends = len(stored(self.folder)) + count, time.monotonic() + PATIENCE
        while len(stored(self.folder)) < least:
            assert time.monotonic() < ends, "the search does not go on"
            time.sleep(0.02)

    def outcome(self, trials=TRIALS):
        """What to note in the ledger, once the search has ended."""
        self.join()
        if self.error is not None:
            raise self.error
        records = read_records(read_trials(self.folder / "search"), PROBLEM)
        assert len(records) == trials
        assert [record.error for record in records] == [None] * trials
        there, made = set(stored(self.folder)), evaluated(self.folder)
        return {
            "lost": len(self.finished.keys() - there),
            "doubled": sum(made[identity] > count for identity, count in self.finished.items())
            + len(stored(self.folder))
            - len(there),
            "seconds": self.longest,
        }


def stored(folder):
    """Identities in the storage, in their order."""
    search = folder / "search"
    if not (search / JOURNAL).exists():
        return []
    return [trial.user_attrs.get("identity") for trial in read_trials(search)]


def evaluated(folder):
    notes = folder / NOTES
    return Counter(notes.read_text().split()) if notes.exists() else Counter()


def kill_child(title):
    """Kill one of this process' own Ray processes, by what it says it is."""
    ends = time.monotonic() + PATIENCE
    while time.monotonic() < ends:
        for pid in children_of(os.getpid()):
            with contextlib.suppress(OSError):
                if title in Path(f"/proc/{pid}/cmdline").read_text():
                    os.kill(pid, signal.SIGKILL)
                    return
        time.sleep(0.05)
    raise AssertionError(f"there is no {title}")


def test_a_worker_is_killed(tmp_path, ledger):
    times = ledger.times(10)
    faults = Injecting(tmp_path, lambda: kill_child("ray::ImplicitFunc"), times)
    search(tmp_path, TRIALS, workers=1, seconds=0.3)
    ledger.add(3, "kill -9: a worker", times, **faults.outcome(), told="nothing; it starts again")


def test_the_study_actor_is_killed(tmp_path, ledger):
    times = ledger.times(10)
    faults = Injecting(tmp_path, lambda: kill_child("ray::StudyHost"), times)
    search(tmp_path, TRIALS, workers=2, seconds=0.3)
    told = "nothing; it starts again and reads the storage"
    ledger.add(4, "kill -9: the study actor", times, **faults.outcome(), told=told)


def test_a_whole_node_is_killed(tmp_path, ledger):
    times = ledger.times(10)
    with Cluster() as cluster:
        nodes = [cluster.join(1)]

        def replace():
            cluster.kill(nodes.pop())
            nodes.append(cluster.join(1))

        faults = Injecting(tmp_path, replace, times)
        search(tmp_path, TRIALS, 1, seconds=0.3, ray=RayConfig(cluster.address))
        outcome = faults.outcome()
    told = "nothing; its work goes to the next node"
    ledger.add(5, "kill -9: a whole node, and a new one", times, **outcome, told=told)
