"""Leases through lost answers, restarts of whoever holds them, and long silences."""

from leasing import done, exchanged, leases_of
from search_toys import identities, toy_space

from search.distributed.leases import LEASE_SECONDS, MAX_DEATHS
from search.problem.evaluation import Outcome


def test_who_leaves_after_a_hanging_arch_brings_the_rest_back_and_none_is_to_blame():
    leases, _ = leases_of(trials=200, workers=1)
    batch = leases.exchange("a", done(leases.exchange("a", []), 1e-3))
    hung = (batch[2], Outcome({}, "it took too long", 5.0))
    leases.remove_worker("a", [*done(batch[:2], 1e-3), hung])
    assert [record.error for record in leases.study.records[-3:]] == [None, None, hung[1].error]
    assert leases.leased == 0
    for _ in range(2 * MAX_DEATHS):
        assert leases.register_worker("a"), "it was not the worker's fault either"
        jobs = leases.exchange("a", [])
        leases.remove_worker("a", [])
    assert identities(jobs) == [batch[3 + 2 * MAX_DEATHS - 1].identity]
    assert sum(record.error is not None for record in leases.study.records) == 1


def test_an_answer_that_was_lost_costs_nobody_anything():
    """Ray may run a call twice, where the answer to the first did not arrive."""
    leases, _ = leases_of(trials=5, workers=1)
    leases.exchange("a", [], [])
    jobs = leases.exchange("a", [], [])
    assert leases.leased == 1
    exchanged(leases, jobs, again=True)
    assert len(leases.study.records) == 5
    assert all(record.error is None for record in leases.study.records)


def test_after_a_restart_workers_say_what_they_have_and_it_is_lent_to_nobody_else():
    space = toy_space()
    before, _ = leases_of(trials=20, space=space)
    held = {name: before.exchange(name, [], []) for name in "ab"}
    after, _ = leases_of(trials=20, space=space)
    mine = after.exchange("a", [], held["a"])
    theirs = after.exchange("b", done(held["b"]), [])
    assert not {*identities(mine), *identities(theirs)} & {*identities(held["a"])}
    assert after.leased == len(held["a"]) + len(mine) + len(theirs)
    assert identities(after.study.records) == identities(held["b"])


def test_no_more_is_stored_than_was_asked_for_whatever_comes_back_late():
    space = toy_space()
    before, _ = leases_of(trials=4, space=space)
    late = before.exchange("late", [], [])
    after, _ = leases_of(trials=4, space=space, initial=[space.largest(), space.smallest()])
    jobs = after.exchange("a", [], [])
    exchanged(after, jobs)
    assert after.exchange("late", done(late), []) is None
    assert len(after.study.records) == 4


def test_a_slow_sampler_is_no_silence_of_the_workers(monkeypatch):
    leases, clock = leases_of(trials=50, workers=2)
    held = leases.exchange("a", [], [])
    ask = leases.study.take_job

    def slow():
        clock.now += LEASE_SECONDS + 1
        return ask()

    monkeypatch.setattr(leases.study, "take_job", slow)
    other = leases.exchange("b", [], [])
    leases.expire()
    assert leases.leased == 2
    assert identities(leases.exchange("a", done(held), [])) != identities(other)


def test_workers_that_all_start_anew_leave_nothing_behind():
    leases, _ = leases_of(workers=2)
    lost = leases.exchange("a", [], [])
    leases.give_up("b", "no weights")
    leases.forget_workers()
    assert leases.failed_workers == {}
    assert identities(leases.exchange("c", [], [])) == identities(lost)
