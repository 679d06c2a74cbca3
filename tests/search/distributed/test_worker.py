"""The loop of a process that evaluates."""

from search_toys import Evaluate, identities, study_of, toy_space

from search.distributed.leases import Leases
from search.distributed.worker import Watch, evaluate_jobs
from search.problem.evaluation import Outcome


class Desk:
    """Lends jobs as `Leases` does, and notes what is asked and what is waited for."""

    def __init__(self, leases, name="a"):
        self.leases, self.name = leases, name
        self.calls = []

    def __call__(self, results, held):
        self.calls.append(len(results))
        jobs = self.leases.exchange(self.name, results, held)
        return lambda: jobs


def test_a_worker_evaluates_every_job_and_brings_every_result():
    leases = Leases(study_of(toy_space(), 60), 1)
    evaluate = Evaluate(toy_space())
    desk = Desk(leases)
    evaluate_jobs(desk, evaluate)
    assert identities(leases.study.records) == evaluate.seen
    assert len(evaluate.seen) == 60
    assert sum(desk.calls) == 60
    assert max(desk.calls) > 1, "in batches"


def test_quick_jobs_are_fetched_while_others_are_evaluated(monkeypatch):
    leases = Leases(study_of(toy_space(), 30), 1)
    order = []
    evaluate = Evaluate(toy_space())

    def noted(arch):
        order.append("evaluate")
        return evaluate(arch)

    def exchange(results, held):
        order.append("ask")
        return desk(results, held)

    desk = Desk(leases)
    evaluate_jobs(exchange, noted)
    assert order[:2] == ["ask", "evaluate"]
    assert order[2] == "ask", "the first batch tells how long one takes"
    assert order[3] == "ask", "before the second is evaluated"
    order.clear()
    monkeypatch.setattr("search.distributed.worker.PREFETCH_SECONDS", 0.0)
    leases = Leases(study_of(toy_space(), 9), 1)
    desk = Desk(leases)
    evaluate_jobs(exchange, noted)
    assert "ask,ask" not in ",".join(order[:-1])


def test_with_nothing_to_do_a_worker_waits(monkeypatch):
    waited = []
    monkeypatch.setattr("search.distributed.worker.time.sleep", waited.append)
    answers = iter([[], [], None])
    evaluate_jobs(lambda results, held: lambda: next(answers), lambda arch: {})
    assert len(waited) == 2


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_a_watch_sees_what_takes_too_long_and_what_was_done_before():
    leases = Leases(study_of(toy_space(), 60), 1)
    clock, seen = Clock(), []
    watch = Watch(5.0, clock)
    jobs = [leases.exchange(str(i), [])[0] for i in range(3)]

    def evaluate(arch):
        seen.append(watch.overdue_results())
        clock.now += 4.0 if len(seen) < 5 else 6.0
        seen.append(watch.overdue_results())
        return {"top1": 0.5}

    done = watch.evaluate_batch(jobs, evaluate)
    assert [job for job, _ in done] == jobs
    assert seen[:5] == [[]] * 5
    *before, (late, outcome) = seen[5]
    assert before == done[:2]
    assert late == jobs[2]
    assert outcome == Outcome({}, "it took longer than the time limit of 5 s", 5.0)
    assert watch.overdue_results() == []


def test_without_a_limit_nothing_takes_too_long():
    clock = Clock()
    watch = Watch(None, clock)
    found = []

    def evaluate(arch):
        clock.now += 1e9
        found.append(watch.overdue_results())
        return {}

    watch.evaluate_batch(Leases(study_of(toy_space(), 9), 1).exchange("a", []), evaluate)
    assert found == [[]]


def test_what_is_finished_is_brought_before_a_slow_job_is_begun(monkeypatch):
    """The slow one may never end: what was finished before is not to be lost with it."""
    leases = Leases(study_of(toy_space(), 60), 1)
    desk, batches = Desk(leases), []

    class Watching(Watch):
        def evaluate_batch(self, jobs, evaluate):
            batches.append((sum(desk.calls), sum(size for _, size in batches)))
            batches[-1] = (*batches[-1][:1], len(jobs))
            done = super().evaluate_batch(jobs, evaluate)
            if len(batches) > 3:
                monkeypatch.setattr("search.distributed.worker.PREFETCH_SECONDS", 0.0)
            return done

    evaluate_jobs(desk, Evaluate(toy_space()), Watching(None))
    begun = 0
    for number, (brought, size) in enumerate(batches):
        if number > 4:
            assert brought == begun, "all that was evaluated before"
        begun += size
    assert len(batches) > 5
    assert sum(desk.calls) == len(leases.study.records) == 60
