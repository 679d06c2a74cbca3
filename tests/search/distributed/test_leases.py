"""Who evaluates what, with workers that die, fall silent, and come back."""

import random

import pytest
from leasing import MANY, done, leases_of
from search_toys import identities, small_space, toy_space

from search.distributed.leases import BATCH_SECONDS, LEASE_SECONDS, MAX_BATCH, MAX_DEATHS
from search.problem.evaluation import Outcome
from space import InputError

GOOD = Outcome({"top1": 0.5}, None, 1.0)


def test_jobs_are_lent_one_by_one_while_nobody_knows_how_long_they_take():
    leases, _ = leases_of()
    first, second = leases.exchange("a", []), leases.exchange("b", [])
    assert (len(first), len(second)) == (1, 1)
    assert identities(first) != identities(second)
    assert leases.leased == 2
    leases.exchange("a", done(first))
    assert identities(first) == [leases.study.records[0].identity]


@pytest.mark.parametrize(("seconds", "size"), [(1.0, 1), (0.1, 2), (0.02, 10), (1e-6, MAX_BATCH)])
def test_a_lease_holds_a_fifth_of_a_second_of_work(seconds, size):
    assert BATCH_SECONDS == 0.2
    leases, _ = leases_of(trials=700, workers=1)
    jobs = leases.exchange("a", [])
    assert len(leases.exchange("a", done(jobs, seconds))) == size


def test_the_last_jobs_are_shared_out():
    leases, _ = leases_of(trials=41, workers=4)
    jobs = leases.exchange("a", [])
    sizes = [len(leases.exchange(name, done(jobs, 1e-3) if name == "a" else [])) for name in "abcd"]
    assert sizes == [5, 4, 3, 3]
    sizes = [len(leases.exchange(name, [])) for name in "efgh" * 9]
    assert sum(sizes) == 25
    assert max(sizes[-12:]) <= 1
    assert leases.exchange("z", []) == [], "wait: others may die and leave some"


def test_a_search_that_is_over_sends_workers_away():
    leases, _ = leases_of(trials=2)
    one, two = leases.exchange("a", []), leases.exchange("b", [])
    assert leases.exchange("a", done(one)) == []
    assert leases.exchange("b", done(two)) is None
    assert leases.exchange("a", []) is None
    assert leases.register_worker("c")
    assert leases.exchange("c", []) is None


def test_what_a_worker_had_when_it_died_is_lent_again_at_once():
    leases, _ = leases_of()
    lost = leases.exchange("a", [])
    assert leases.register_worker("a")
    assert identities(leases.exchange("b", [])) == identities(lost)
    assert identities(leases.exchange("a", [])) != identities(lost)


def test_an_arch_that_kills_its_worker_three_times_has_failed():
    leases, _ = leases_of()
    killer = leases.exchange("a", [])[0]
    for _ in range(MAX_DEATHS - 1):
        assert leases.register_worker("a")
        assert identities(leases.exchange("a", [])) == [killer.identity]
    assert leases.study.records == []
    leases.register_worker("a")
    (record,) = leases.study.records
    assert record.identity == killer.identity
    assert "died or fell silent 3 times" in record.error
    assert killer.identity not in identities(leases.exchange("a", []))
    assert leases.failed_workers == {}, "the worker is not to blame"


def test_in_a_lost_batch_the_one_that_kills_is_found_out_and_no_other_fails():
    leases, _ = leases_of(trials=200, workers=1)
    jobs = leases.exchange("a", [])
    batch = leases.exchange("a", done(jobs, 1e-3))
    assert len(batch) == MAX_BATCH
    killer = batch[17].identity
    leases.register_worker("a")
    jobs = leases.exchange("a", [])
    for _ in range(MANY):
        if jobs is None:
            break
        died = killer in identities(jobs)
        if died:
            leases.register_worker("a")
        jobs = leases.exchange("a", [] if died else done(jobs, 1e-3))
    assert len(leases.study.records) == 200
    assert [record.identity for record in leases.study.records if record.error] == [killer]


def test_a_suspect_is_lent_alone_and_with_nothing_in_advance():
    leases, _ = leases_of(trials=100, workers=1)
    jobs = leases.exchange("a", [])
    batch = leases.exchange("a", done(jobs, 1e-3))
    leases.register_worker("a")
    suspect = leases.exchange("a", [])
    assert identities(suspect) == [batch[0].identity]
    assert leases.exchange("a", []) == [], "whatever else it held would be suspected too"
    assert identities(leases.exchange("a", done(suspect))) == [batch[1].identity]
    fresh = leases.exchange("b", [])
    assert identities(fresh) == [batch[2].identity]


def test_a_suspect_is_not_lent_to_who_has_something_else_already():
    leases, _ = leases_of(trials=100, workers=2)
    lost = leases.exchange("a", [])
    held = leases.exchange("b", [])
    leases.register_worker("a")
    assert lost[0].identity not in identities(leases.exchange("b", []))
    assert identities(leases.exchange("a", [])) == identities(lost)
    assert leases.study.awaits(held[0])


def test_leases_end_when_their_worker_has_been_silent():
    leases, clock = leases_of()
    lost = leases.exchange("a", [])
    clock.now = LEASE_SECONDS - 1
    leases.expire()
    assert leases.leased == 1
    leases.record_heartbeat("a")
    clock.now += LEASE_SECONDS
    leases.expire()
    assert leases.leased == 1
    clock.now += 1
    assert identities(leases.exchange("b", [])) == identities(lost)


def test_who_was_only_slow_may_still_bring_its_result():
    leases, clock = leases_of()
    lost = leases.exchange("a", [])
    clock.now = LEASE_SECONDS + 1
    leases.expire()
    leases.exchange("a", done(lost))
    assert identities(lost) == [record.identity for record in leases.study.records]
    assert lost[0].identity not in identities(leases.exchange("b", []))
    again = leases.exchange("b", done(lost))
    assert lost[0].identity not in identities(again)
    assert len(leases.study.records) == 1


@pytest.mark.parametrize("registers", [False, True])
def test_a_worker_that_dies_while_it_is_set_up_is_not_started_for_ever(registers):
    leases, _ = leases_of()
    for _ in range(MAX_DEATHS):
        assert leases.failed_workers == {}
        assert not registers or leases.register_worker("a")
        leases.record_death("a", "ImportError: no module named x")
    assert leases.failed_workers == {
        "a": "it died 3 times while it was set up: ImportError: no module named x"
    }
    assert not leases.register_worker("a")
    assert leases.register_worker("b"), "others go on"


def test_asking_for_work_clears_the_count_of_starts():
    leases, _ = leases_of(trials=100)
    for _ in range(3 * MAX_DEATHS):
        assert leases.register_worker("a")
        leases.exchange("a", [])
        leases.record_death("a", "killed")
    assert leases.failed_workers == {}


def test_a_worker_that_gives_up_leaves_its_jobs_to_others():
    leases, _ = leases_of()
    lost = leases.exchange("a", [])
    leases.give_up("a", "RuntimeError: no weights here")
    assert leases.failed_workers == {"a": "RuntimeError: no weights here"}
    assert identities(leases.exchange("b", [])) == identities(lost)


def test_an_error_of_the_search_ends_it_for_all():
    leases, _ = leases_of()
    jobs = leases.exchange("a", [])
    assert leases.exchange("a", [(jobs[0], Outcome({"top2": 0.5}, None, 1.0))]) is None
    assert isinstance(leases.error, InputError)
    assert leases.exchange("b", []) is None
    assert not leases.register_worker("c")


@pytest.mark.parametrize("seed", range(40))
def test_through_any_disorder_every_arch_is_finished_once(seed):
    """Workers die, fall silent, bring results late and twice, and are started again."""
    rng = random.Random(seed)
    space = small_space() if seed % 2 else toy_space()
    trials = rng.choice([5, 40, 1000 if seed % 2 else 90])
    leases, clock = leases_of(trials, workers=3, space=space, budget="macs=90%")
    killer = space.identity(space.smallest()) if seed % 3 == 0 else None
    names = [f"w{i}" for i in range(3)]
    held = {name: [] for name in names}
    late, ended = [], set()
    for _ in range(5000):
        if len(ended) == 3:
            break
        name = rng.choice(names)
        clock.now += rng.random()
        event = rng.random()
        if name in ended:
            continue
        if killer in identities(held[name]) or event < 0.05:
            late += held[name] if rng.random() < 0.5 else []
            held[name] = []
            assert leases.register_worker(name)
        elif event < 0.07:
            clock.now += LEASE_SECONDS + 1
            leases.expire()
        elif event < 0.1 and late:
            leases.exchange("ghost", done([late.pop()], 0.05))
            leases.register_worker("ghost")
        else:
            jobs = leases.exchange(name, done(held[name], rng.choice([0.01, 0.3])))
            held[name] = jobs or []
            if jobs is None:
                ended.add(name)
    assert len(ended) == 3
    assert leases.error is None
    assert leases.failed_workers == {}
    found = identities(leases.study.records)
    inside = [
        i for i in range(space.size()) if leases.study.problem.budget.inside(space.graph.path(i))
    ]
    assert len(found) == len(set(found)) == min(trials, len(inside))
    assert leases.leased == 0


def test_while_a_storage_is_waited_for_no_worker_falls_silent(monkeypatch):
    leases, clock = leases_of()
    assert leases.register_worker("a")
    assert leases.register_worker("b")
    one, _ = leases.exchange("a", []), leases.exchange("b", [])
    finish = leases.study.finish

    def slow(job, outcome):
        clock.now += 2 * LEASE_SECONDS
        return finish(job, outcome)

    monkeypatch.setattr(leases.study, "finish", slow)
    leases.exchange("a", done(one))
    leases.expire()
    assert leases.alive == 2
    assert leases.leased == 2, "what b has is still its own"
    clock.now += LEASE_SECONDS + 1
    leases.expire()
    assert leases.leased == 0, "a silence of its own still counts"


def test_a_storage_that_is_away_is_waited_for_once():
    leases, _ = leases_of(workers=1)
    jobs, asked = leases.exchange("a", []) + leases.exchange("a", []), []

    def away(job, outcome):
        asked.append(job)
        raise InputError("storage x: unreachable for 60 seconds")

    leases.study.finish = away
    assert leases.exchange("a", done(jobs)) is leases.exchange("b", done(jobs)) is None
    assert len(asked) == 1
    assert str(leases.error) == "storage x: unreachable for 60 seconds"


@pytest.mark.parametrize("method", ["take_job", "finish"])
def test_what_a_sampler_or_an_objective_raises_ends_the_search(method):
    leases, _ = leases_of()
    jobs = leases.exchange("a", [])

    def raises(*_):
        raise RuntimeError("no gene")

    setattr(leases.study, method, raises)
    assert leases.exchange("a", done(jobs)) is None
    assert str(leases.error).startswith("the search cannot go on: RuntimeError: no gene (test_")


def test_workers_of_a_study_that_was_started_again_are_alive():
    leases, _ = leases_of(workers=3)
    leases.exchange("a", [])
    leases.record_heartbeat("b")
    assert leases.alive == 2
    leases.record_death("b", "killed")
    assert leases.alive == 1
