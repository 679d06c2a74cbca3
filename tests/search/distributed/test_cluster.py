"""Searches on a Ray cluster of several nodes, which join and leave."""

import math
import os
import threading
import time
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from ray_cluster import Cluster, new_token
from search_toys import problem_of
from searching import BUDGET, NOTES, QUICK, SPACE, Noting

from search import RayConfig, Workers
from search.distributed.connect import count_fitting_processes
from search.pipeline.config import Config, RetrainConfig, SearchConfig
from search.run import run_search
from search.study.options import SearchOptions
from search.study.storage import read_trials
from search.study.trial_format import read_records
from space import InputError

pytestmark = pytest.mark.cluster

HERE = Path(__file__).parents[1]
PROBLEM = problem_of(SPACE, budget=BUDGET)
HOSTS = "hosts.txt"


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """Modules are found on every node, and a token is asked for."""
    token = new_token()
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), str(HERE.parent / "space")]))
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", token)
    return token


class Placed(Noting):
    """Notes where it evaluates, too."""

    def __call__(self, arch):
        import ray  # noqa: PLC0415

        metrics = super().__call__(arch)
        with self.notes.with_name(HOSTS).open("a") as file:
            file.write(ray.util.get_node_ip_address() + "\n")
        return metrics


def make(folder, seconds):
    return Placed(folder / NOTES, seconds, None)


def search(cluster, folder, trials, workers, seconds=0.05, **others):
    folder.mkdir(exist_ok=True)
    return run_search(
        space=SPACE,
        make_evaluate=partial(make, folder, seconds),
        budget=BUDGET,
        trials=trials,
        options=SearchOptions(workers=workers, ray=RayConfig(cluster.address, **others)),
        folder=folder / "search",
        origin="toy",
    )


def lines(path):
    return Counter(path.read_text().split()) if path.exists() else Counter()


def holds(folder, trials):
    """All trials are there, none is a repetition, none was made twice but those given."""
    identities = [r.identity for r in read_records(read_trials(folder / "search"), PROBLEM)]
    assert len(identities) == trials == len(set(identities))
    assert set(identities) <= set(lines(folder / NOTES))


def wait_for(condition, seconds=120):
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, "it took too long"
        time.sleep(0.05)


def test_workers_run_on_all_nodes_and_every_arch_is_evaluated_once(tmp_path):
    with Cluster() as cluster:
        cluster.join(2)
        cluster.join(2)
        search(cluster, tmp_path, 120, workers=4, seconds=0.1)
        search(cluster, tmp_path, 130, workers=4)
    holds(tmp_path, 130)
    assert set(lines(tmp_path / NOTES).values()) == {1}
    assert set(lines(tmp_path / HOSTS)) == {"127.0.0.3", "127.0.0.4"}


def test_nodes_that_join_are_used_and_nodes_that_leave_cost_a_retry(tmp_path):
    hosts, failed = tmp_path / HOSTS, []
    with Cluster() as cluster:
        first = cluster.join(2)

        def change():
            try:
                wait_for(lambda: lines(hosts)["127.0.0.3"] > 2)
                cluster.join(2)
                wait_for(lambda: lines(hosts)["127.0.0.4"] > 2)
                cluster.kill(first)
                cluster.join(2)
                wait_for(lambda: lines(hosts)["127.0.0.5"] > 2)
            except AssertionError as error:
                failed.append(error)
            (tmp_path / QUICK).touch()

        changing = threading.Thread(target=change)
        changing.start()
        search(cluster, tmp_path, 400, workers=4, seconds=1.0)
        changing.join()
    assert failed == []
    holds(tmp_path, 400)
    assert sum(lines(tmp_path / NOTES).values()) <= 400 + 4, "what was finished is not made again"


def test_workers_go_where_resources_and_labels_are(tmp_path):
    with Cluster() as cluster:
        cluster.join(2)
        cluster.join(2, resources='{"fast": 2}')
        search(cluster, tmp_path, 30, workers=2, resources={"fast": 1})
        assert set(lines(tmp_path / HOSTS)) == {"127.0.0.4"}
        cluster.join(2, labels="zone=east")
        search(cluster, tmp_path, 60, workers=2, placement={"zone": "east"})
        assert lines(tmp_path / HOSTS)["127.0.0.5"] >= 30


def test_the_environment_and_the_folder_that_were_asked_for_are_taken(tmp_path):
    def make_evaluate():
        shared = os.environ["TOKENNAS_TEST"]
        return lambda arch: {"top1": len(shared) / 10}

    with Cluster(cpus=1) as cluster:
        variables = {"env_vars": {"TOKENNAS_TEST": "four"}}
        ray = RayConfig(cluster.address, str(tmp_path / "tune"), variables)
        options = SearchOptions(workers=1, ray=ray)
        front = run_search(space=SPACE, make_evaluate=make_evaluate, trials=4, options=options)
    assert {entry.metrics["top1"] for entry in front.entries} == {0.4}
    assert list((tmp_path / "tune").glob("tokennas-*/evaluate_leases_*"))


def test_a_cluster_that_asks_for_another_token_is_named(tmp_path, monkeypatch):
    with Cluster(cpus=1) as cluster:
        monkeypatch.setenv("RAY_AUTH_TOKEN", new_token())
        with pytest.raises(InputError, match="RAY_AUTH_TOKEN") as caught:
            search(cluster, tmp_path, 4, workers=1)
    assert "\n" not in str(caught.value)


WRONG = [
    ("ray://127.0.0.1:10001", "ray job submit"),
    ("127.0.0.1", "must be `auto` or HOST:PORT"),
    ("127.0.0.1:99999", "must be `auto` or HOST:PORT"),
    ("", "must be `auto` or HOST:PORT"),
    ("http://127.0.0.1:8265", "must be `auto` or HOST:PORT"),
]


@pytest.mark.parametrize(("address", "words"), WRONG)
def test_an_address_that_cannot_be_joined_is_refused_when_it_is_read(address, words):
    with pytest.raises(InputError, match=words):
        RayConfig(address)


def test_an_address_that_nothing_would_join_is_refused():
    ray = RayConfig("auto")
    with pytest.raises(InputError, match=r"^search\.ray\.address: auto given without workers"):
        Config(search=SearchConfig(ray=ray))
    for config in (
        Config(search=SearchConfig(workers=1, ray=ray)),
        Config(search=SearchConfig(ray=ray), retrain=RetrainConfig(workers=1)),
    ):
        assert config.search.ray.address == "auto"


@pytest.mark.parametrize("address", ["127.0.0.1:9", "a..b:9", "auto"])
def test_an_address_where_no_cluster_is_is_refused_in_a_line(tmp_path, address):
    began = time.monotonic()
    with pytest.raises(InputError, match=r"search\.ray\.address") as caught:
        run_search(
            space=SPACE,
            evaluate=len,
            options=SearchOptions(workers=1, ray=RayConfig(address)),
            folder=tmp_path / "search",
        )
    assert "\n" not in str(caught.value)
    assert time.monotonic() - began < 30
    assert not (tmp_path / "search").exists()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"gpus_per_worker": 0.3}, "gpus_per_worker: must be 1/k"),
        ({"gpus_per_worker": 1.5}, "gpus_per_worker: must be 1/k"),
        ({"gpus_per_worker": math.nan}, "gpus_per_worker: must be 1/k"),
        ({"gpus_per_worker": math.inf}, "gpus_per_worker: must be 1/k"),
        ({"cpus_per_worker": -1}, "cpus_per_worker: must be at least 0"),
        ({"cpus_per_worker": math.inf}, "cpus_per_worker: must be at least 0"),
    ],
)
def test_what_workers_cannot_take_is_refused(values, words):
    with pytest.raises(InputError, match=rf"^search\.{words}"):
        Config(search=SearchConfig(workers=2, **values))
    with pytest.raises(InputError, match=rf"^retrain\.{words}"):
        Config(retrain=RetrainConfig(workers=2, **values))


def test_workers_have_the_gpus_that_ray_gives_them():
    workers = SearchConfig(workers=2)
    assert Config(search=workers).search_workers() == Workers(2, prefix="search.")
    assert Config(search=workers, device="cuda").search_workers() == Workers(2, prefix="search.")
    assert Config(search=workers, device="cpu").search_workers() == Workers(
        2, gpus=0.0, prefix="search."
    )
    assert Config(device="cuda:1").search_workers() is None
    with pytest.raises(InputError, match=r"^device: 'cuda:1' with search\.workers"):
        Config(search=workers, device="cuda:1")
    with pytest.raises(InputError, match=r"^search\.gpus_per_worker: must be 0 with `device: cpu`"):
        Config(search=SearchConfig(workers=2, gpus_per_worker=1), device="cpu")


def test_resources_of_our_own_names_are_refused():
    with pytest.raises(InputError, match="not a custom resource"):
        RayConfig(resources={"GPU": 1})
    for amount in (0, math.nan, math.inf):
        with pytest.raises(InputError, match="fast: must be over 0"):
            RayConfig(resources={"fast": amount})


def test_gpus_are_shared_out_evenly():
    assert [Workers(n).gpus_per_process(4) for n in (1, 4, 5, 8, 9)] == [1, 1, 1 / 2, 1 / 2, 1 / 3]
    assert Workers(8).gpus_per_process(0) == 0
    assert Workers(8, gpus=0.25).gpus_per_process(0) == 0.25
    # Processes that train together have one each, and networks wait for their turn.
    assert [Workers(n, processes=2).gpus_per_process(4) for n in (1, 2, 3)] == [1, 1, 1]
    assert Workers(1, processes=2).gpus_per_process(0) == 0


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"processes": 0}, "processes: must be at least 1, got 0"),
        ({"processes": 2}, "processes: 2 for each network .*; set retrain.workers"),
        (
            {"processes": 2, "workers": 1, "gpus_per_worker": 0.5},
            "gpus_per_worker: must be at least 1 with 2 processes",
        ),
    ],
)
def test_processes_that_could_not_train_together_are_refused(values, words):
    with pytest.raises(InputError, match=rf"^retrain\.{words}"):
        Config(retrain=RetrainConfig(**values)).retrain_workers()


def node(**values):
    return {"Alive": True, "Resources": {"CPU": 8.0, "GPU": 4.0}, "Labels": {"k": "v"}, **values}


@pytest.mark.parametrize(
    ("workers", "gpus", "places"),
    [
        (Workers(9), 0.0, 8),
        (Workers(9), 1.0, 4),
        (Workers(9, cpus=0.5), 1 / 3, 12),
        (Workers(9, cpus=16), 0.0, 0),
        (Workers(9, ray=RayConfig(resources={"x": 1})), 0.0, 0),
        (Workers(9, ray=RayConfig(placement={"k": "v"})), 0.0, 8),
        (Workers(9, ray=RayConfig(placement={"k": "w"})), 0.0, 0),
    ],
)
def test_how_many_workers_a_node_has_place_for(workers, gpus, places):
    workers = replace(workers, gpus=gpus)
    assert count_fitting_processes(node(), workers) == places
    assert count_fitting_processes(node(Alive=False), workers) == 0


def test_how_many_workers_have_a_place_is_told_first(tmp_path):
    seen = []
    run_search(
        space=SPACE,
        make_evaluate=partial(make, tmp_path, 0.0),
        trials=3,
        options=SearchOptions(workers=1),
        folder=tmp_path / "search",
        on_event=seen.append,
    )
    before = [progress for progress in seen if not progress.done]
    (note,) = dict.fromkeys(note for progress in before for note in progress.notes)
    assert note == "1 of 1 workers fit on the cluster's nodes; each process takes 1 CPU and 0 GPU"
