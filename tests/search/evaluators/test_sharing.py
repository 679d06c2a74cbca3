"""Evaluations that share work: in which groups and in what order archs are evaluated."""

import pytest
from leasing import done, exchanged, leases_of
from search_toys import Evaluate, identities, study_of, toy_space, with_options

from search.distributed.leases import MAX_DEATHS
from search.evaluators.base import count_shared_blocks, order_jobs, shares_work
from search.problem.evaluation import Outcome
from search.run import run_search

SPACE = toy_space()


class Together(Evaluate):
    """Notes the groups that it is told of, and wants them backwards."""

    def __init__(self, space):
        super().__init__(space)
        self.groups = []

    def expect(self, archs):
        self.groups.append([self.space.identity(arch) for arch in archs])
        return archs[::-1]


def search(evaluate, **values):
    return run_search(
        **with_options(space=SPACE, evaluate=evaluate, budget="macs=80%", origin="toy", **values)
    )


def jobs_of(count, **values):
    study = study_of(SPACE, 100, **values)
    return [study.take_job() for _ in range(count)]


def test_what_shares_is_told_of_jobs_and_orders_them():
    jobs, evaluate = jobs_of(5), Together(SPACE)
    assert order_jobs(evaluate, jobs) == jobs[::-1]
    assert evaluate.groups == [identities(jobs)]
    assert order_jobs(Evaluate(SPACE), jobs) == jobs


def test_with_a_time_limit_groups_are_the_same():
    plain, timed = Together(SPACE), Together(SPACE)
    search(plain, trials=60)
    search(timed, trials=60, time_limit=60.0)
    assert max(map(len, plain.groups)) > 1
    assert timed.groups == plain.groups


@pytest.mark.parametrize(
    ("sampler", "size"),
    [
        ("NSGAIISampler", 20),
        ({"name": "NSGAIIISampler", "population_size": 7}, 7),
        ("RandomSampler", 64),
        ("TPESampler", 1),
        ("EvolutionSampler", 1),
    ],
)
def test_groups_are_as_large_as_what_proposes_loses_nothing_by(sampler, size):
    evaluate = Together(SPACE)
    search(evaluate, trials=150, sampler=sampler)
    initial = 0 if sampler == "RandomSampler" else len(study_of(SPACE, 1)._initial)
    sizes = [len(group) for group in evaluate.groups]
    assert sum(sizes) == len(set(evaluate.seen)) == 150
    assert sizes[0] == 1, "the first one tells whether there is anything to do"
    ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
    after = [size for size, end in zip(sizes, ends, strict=True) if end > max(1, initial)]
    assert set(after[:-1]) == {size}
    for group, end in zip(evaluate.groups, ends, strict=True):
        assert evaluate.seen[end - len(group) : end] == group[::-1]


def test_no_group_holds_what_is_proposed_before_the_initial_archs_are_known():
    study = study_of(SPACE, 100, budget="macs=80%")
    for size in (1, 4, 500, 500):
        sources = {job.source for job in study.take_group(size)}
        assert len(sources) == 1
    assert sources == {"sampler"}


@pytest.mark.parametrize("sampler", ["TPESampler", "EvolutionSampler"])
def test_what_learns_from_each_result_proposes_the_same_as_without_sharing(sampler):
    alone, together = Evaluate(SPACE), Together(SPACE)
    initial = len(study_of(SPACE, 1)._initial)
    together.expect = lambda archs: archs
    for evaluate in (alone, together):
        search(evaluate, trials=initial + 30, sampler=sampler)
    assert alone.seen == together.seen


@pytest.mark.parametrize("sampler", ["NSGAIISampler", "RandomSampler"])
def test_the_same_seed_evaluates_the_same_archs_and_a_search_goes_on(tmp_path, sampler):
    whole = Together(SPACE), Together(SPACE)
    fronts = [search(each, trials=90, sampler=sampler) for each in whole]
    assert whole[0].seen == whole[1].seen
    assert fronts[0] == fronts[1]

    class Stopped(Together):
        def __call__(self, arch):
            if len(self.seen) == 33:
                raise KeyboardInterrupt
            return super().__call__(arch)

    seen = []
    for _ in range(2):
        evaluate = Stopped(SPACE)
        with pytest.raises(KeyboardInterrupt):
            search(evaluate, trials=90, sampler=sampler, folder=tmp_path)
        seen += evaluate.seen
    evaluate = Together(SPACE)
    assert search(evaluate, trials=90, sampler=sampler, folder=tmp_path).evaluations == 90
    seen += evaluate.seen
    assert len(seen) == len(set(seen)) == 90
    assert seen[:33] == whole[0].seen[:33]


def test_one_that_fails_fails_alone():
    class Failing(Together):
        def __call__(self, arch):
            metrics = super().__call__(arch)
            if len(self.seen) % 7 == 3:
                raise RuntimeError("no")
            return metrics if len(self.seen) % 7 else {"top1": float("nan")}

    evaluate = Failing(SPACE)
    front = search(evaluate, trials=70)
    assert (front.evaluations, front.failed) == (70, 20)
    assert len(set(evaluate.seen)) == 70


def test_a_worker_gets_what_begins_like_what_it_had():
    leases, _ = leases_of(trials=300, workers=3, ahead=30, sampler="RandomSampler")
    last, chosen, there = {}, 0, 0
    for turn in range(90):
        name = "abc"[turn % 3]
        jobs = leases.exchange(name, done(last.get(name, [])))
        waiting = [*jobs, *leases._waiting]
        if name in last:
            likes = [count_shared_blocks(job.arch, last[name][-1].arch) for job in waiting]
            assert likes[0] == max(likes)
            chosen, there = chosen + likes[0], there + sum(likes) / len(likes)
        last[name] = jobs
    assert chosen > 1.5 * there


def test_jobs_that_wait_are_lent_once_each_and_nothing_is_lost():
    leases, _ = leases_of(trials=47, workers=2, ahead=20)
    exchanged(leases, [])
    records = identities(leases.study.records)
    assert len(records) == len(set(records)) == 47


def test_what_kills_workers_is_found_out_among_jobs_that_wait():
    leases, _ = leases_of(trials=60, workers=2, ahead=20)
    killer = leases.exchange("a", [])[0].identity
    deaths = 0
    leases.register_worker("a")
    jobs = leases.exchange("a", [])
    while jobs is not None:
        died = killer in identities(jobs)
        deaths += died
        if died:
            leases.register_worker("a")
        jobs = leases.exchange("a", [] if died else done(jobs, 1e-3))
    assert deaths == MAX_DEATHS - 1
    records = leases.study.records
    assert len(records) == 60
    assert [each.identity for each in records if each.error] == [killer]


def test_after_a_restart_what_a_worker_holds_is_lent_to_nobody_else():
    before, _ = leases_of(trials=60, workers=2, ahead=20)
    held = before.exchange("a", [])
    leases, _ = leases_of(trials=60, workers=2, ahead=20)
    leases.exchange("b", [])
    held = [*held, *leases._waiting[:3]]
    assert leases.exchange("a", [], held) is not None
    assert not set(identities(held)) & set(identities(leases._waiting))
    leases.study.finish(leases._waiting[0], Outcome({"top1": 0.5}))
    finished = leases.study.records[-1].identity
    for _ in range(9):
        assert finished not in identities(leases.exchange("c", []))


def test_makers_say_whether_what_they_make_shares():
    class Maker:
        shares = True

    assert shares_work(Maker())
    assert not shares_work(lambda: Evaluate(SPACE))


@pytest.mark.parametrize("ahead", [1, 64])
def test_a_study_that_was_started_again_ends_at_its_trials(ahead):
    before, _ = leases_of(trials=30, ahead=ahead, sampler="RandomSampler")
    known = [job for _ in range(12) for job in before.exchange("a", [], None) or ()]
    assert len(known) == 12
    leases, _ = leases_of(trials=30, ahead=ahead, sampler="RandomSampler", seed=1)
    jobs = leases.exchange("b", [], [])
    # Another worker brings what the study before had lent: this one did not know of it.
    leases.remove_worker("a", done(known))
    exchanged(leases, jobs, "b")
    assert len(leases.study.records) == 30
