"""Failures: a first series of them is not stored, later ones can be tried again."""

import pytest
from search_toys import Evaluate, identities, problem_of
from stored import SPACE, search, stored

from search.cli.main import main
from search.distributed.study_actor import StudyHost
from search.problem.evaluation import Outcome
from search.study.search import Search
from search.study.session import MAX_FAILURE_NOTES
from search.study.status import format_status, read_status
from search.study.storage import read_trials
from space import InputError
from space.utils.yaml_file import read_yaml

LIMIT = "it took longer than the time limit of 0.01 s"
TOO_LONG = f"TimeoutError: {LIMIT}"


class Failing(Evaluate):
    """Fails for the archs that `fails` says."""

    def __init__(self, fails, error=None):
        super().__init__(SPACE)
        self.fails, self.error = fails, error or TimeoutError(LIMIT)

    def __call__(self, arch):
        metrics = super().__call__(arch)
        if self.fails(self.seen[-1]):
            raise self.error
        return metrics


def always(identity):
    return True


def some(identity):
    return int(identity, 16) % 4 == 0


def attempts(folder):
    return [
        (trial.user_attrs["identity"], trial.user_attrs["attempt"], trial.state.name)
        for trial in read_trials(folder)
    ]


@pytest.mark.parametrize("url", [None, "sqlite:///{}/trials.db"])
def test_a_first_series_that_all_fail_is_not_stored_and_tried_again(tmp_path, url):
    url, broken = url and url.format(tmp_path), Failing(always)
    with pytest.raises(InputError) as caught:
        search(tmp_path / "a", 30, broken, storage=url)
    message = str(caught.value)
    assert message.startswith("none of the first 10 evaluations succeeded, the first failed with ")
    assert TOO_LONG in message
    assert "nothing is stored" in message
    assert "the same command tries these archs again" in message
    assert "\n" not in message
    assert message in format_status(read_status(tmp_path / "a"))
    mended, whole = Evaluate(SPACE), Evaluate(SPACE)
    front, _ = search(tmp_path / "a", 12, mended, storage=url)
    assert front == search(tmp_path / "whole", 12, whole)[0]
    assert mended.seen == whole.seen
    assert mended.seen[:10] == broken.seen
    assert (front.evaluations, front.failed) == (12, 0)


def test_a_search_of_few_trials_that_all_fail_is_not_stored_either(tmp_path):
    for trials in (1, 5):
        with pytest.raises(InputError, match=f"none of the {trials} evaluations succeeded, the f"):
            search(tmp_path, trials, Failing(always))
        assert stored(tmp_path) == []
    assert search(tmp_path, 5)[0].failed == 0


def test_failures_before_the_first_success_are_stored_with_it(tmp_path):
    broken, there = Failing(lambda identity: len(broken.seen) < 8), []

    def look(progress):
        there.append((progress.done, len(read_trials(tmp_path))))

    search(tmp_path, 12, broken, on_event=look)
    assert there[1:] == [*((done, 0) for done in range(1, 8)), *((n, n) for n in range(8, 13))]
    records = stored(tmp_path)
    assert identities(records) == broken.seen
    assert [record.error is not None for record in records] == [True] * 7 + [False] * 5


def test_a_search_that_is_killed_in_its_first_series_tries_it_again(tmp_path):
    def killed(identity):
        if len(broken.seen) == 7:
            raise KeyboardInterrupt
        return True

    broken = Failing(killed)
    with pytest.raises(KeyboardInterrupt):
        search(tmp_path, 12, broken)
    assert stored(tmp_path) == []
    front, evaluate = search(tmp_path, 12)
    assert evaluate.seen[:7] == broken.seen
    assert front.failed == 0


def exchanged(host, outcomes):
    """A worker gives the next outcomes, one by one; the identities of their archs."""
    seen, results = [], []
    while (jobs := host.call("exchange", "a", results, [])) and len(seen) < len(outcomes):
        results = [(job, outcomes[len(seen)]) for job in jobs]
        seen += identities(jobs)
    return seen


def test_workers_end_a_first_series_that_all_fail_and_leave_nothing(tmp_path):
    bad, good = Outcome({}, TOO_LONG, 1.0), Outcome({"top1": 0.5}, None, 1.0)
    planned = Search(problem_of(SPACE), trials=40, folder=tmp_path)
    host = StudyHost(planned, workers=1)
    tried = exchanged(host, [bad] * 12)
    assert len(tried) == 10
    status, message = host.status(), "none of the first 10 evaluations succeeded, the first fai"
    assert str(status.error).startswith(message)
    assert (status.goes_on, host.is_over()) == (False, True)
    host.close()
    assert stored(tmp_path) == []
    # The study's process may also be killed in that series, and be started again.
    for outcomes in ([bad] * 6, [bad, good, bad]):
        host = StudyHost(planned, workers=1)
        assert exchanged(host, outcomes) == tried[: len(outcomes)]
        host.close()
    assert identities(stored(tmp_path)) == tried[:3]


def test_a_later_run_that_only_fails_is_stored_and_stops(tmp_path):
    """Stored, since a search whose next archs all fail would come no further otherwise."""
    search(tmp_path, 12)
    for done in (22, 32):
        with pytest.raises(InputError, match="the first 10 evaluations of this run failed") as told:
            search(tmp_path, 60, Failing(always))
        assert f"the first with {TOO_LONG}" in str(told.value)
        assert "search.retry_failed" in str(told.value)
        assert len(stored(tmp_path)) == done


def test_the_last_evaluations_may_all_fail(tmp_path):
    search(tmp_path, 12)
    assert search(tmp_path, 15, Failing(always))[0].failed == 3
    assert search(tmp_path, 15)[1].seen == []


def test_stored_failures_are_tried_again_and_each_attempt_is_kept(tmp_path):
    _, broken = search(tmp_path, 30, Failing(some))
    failed = [identity for identity in broken.seen if some(identity)]
    assert len(failed) > 3
    assert search(tmp_path, 30)[1].seen == [], "not unless it is asked for"
    front, mended = search(tmp_path, 30, retry_failed=True)
    assert mended.seen == failed
    assert (front.evaluations, front.failed) == (30, 0)
    again = [(identity, 2, "COMPLETE") for identity in failed]
    assert attempts(tmp_path)[30:] == again
    assert [each for each in attempts(tmp_path) if each[2] == "FAIL"] == [
        (identity, 1, "FAIL") for identity in failed
    ]
    assert sorted(identities(stored(tmp_path))) == sorted(broken.seen)
    assert [record.number for record in stored(tmp_path)] == list(range(30))
    assert [record.error for record in stored(tmp_path)] == [None] * 30
    for values in ({}, {"retry_failed": True}):
        later, evaluate = search(tmp_path, 30, **values)
        assert evaluate.seen == []
        assert later == front


def test_what_fails_again_is_kept_too_and_the_search_goes_on(tmp_path):
    _, broken = search(tmp_path, 30, Failing(some))
    failed = [identity for identity in broken.seen if some(identity)]
    front, evaluate = search(tmp_path, 36, Failing(some, ValueError("other")), retry_failed=True)
    assert evaluate.seen[: len(failed)] == failed, "before anything else"
    assert len(evaluate.seen) == len(failed) + 6
    assert not set(evaluate.seen[len(failed) :]) & set(broken.seen)
    assert front.evaluations == 36
    records = {record.identity: record for record in stored(tmp_path)}
    assert len(records) == 36
    assert all("ValueError: other" in records[identity].error for identity in failed)
    assert attempts(tmp_path)[30 : 30 + len(failed)] == [(each, 2, "FAIL") for each in failed]


def test_many_failures_that_fail_again_do_not_stop_a_search_that_works(tmp_path):
    search(tmp_path, 12)
    search(tmp_path, 40, Failing(lambda identity: int(identity, 16) % 2))
    failed = sum(record.error is not None for record in stored(tmp_path))
    assert failed > 10
    front, evaluate = search(tmp_path, 40, Failing(always), retry_failed=True)
    assert len(evaluate.seen) == front.failed == failed


def test_trying_again_that_is_interrupted_loses_nothing(tmp_path):
    _, broken = search(tmp_path, 30, Failing(some))
    failed = [identity for identity in broken.seen if some(identity)]

    def interrupted(arch):
        if len(evaluate.seen) == 2:
            raise KeyboardInterrupt
        return evaluate(arch)

    evaluate = Evaluate(SPACE)
    with pytest.raises(KeyboardInterrupt):
        search(tmp_path, 30, interrupted, retry_failed=True)
    left = [record.identity for record in stored(tmp_path) if record.error is not None]
    assert left == failed[2:]
    front, rest = search(tmp_path, 30, retry_failed=True)
    assert rest.seen == failed[2:]
    assert (front.evaluations, front.failed) == (30, 0)


def test_fewer_trials_than_are_stored_still_try_failures_again(tmp_path):
    search(tmp_path, 30, Failing(some))
    front, evaluate = search(tmp_path, 5, retry_failed=True)
    assert len(evaluate.seen) > 3
    assert (front.evaluations, front.failed) == (30, 0)


def test_what_succeeded_later_is_what_another_search_reuses(tmp_path):
    _, broken = search(tmp_path / "a", 30, Failing(some))
    search(tmp_path / "a", 30, retry_failed=True)
    front, evaluate = search(tmp_path / "b", 30, reuse=[tmp_path / "a"])
    assert not set(evaluate.seen) & set(broken.seen)
    assert front.failed == 0


def test_what_another_search_measured_does_not_hide_that_nothing_works_here(tmp_path):
    search(tmp_path / "a", 15)
    with pytest.raises(InputError, match="none of the first 10 evaluations succeeded"):
        search(tmp_path / "b", 60, Failing(always), reuse=[tmp_path / "a"])
    assert stored(tmp_path / "b") == []


LACKS = "the evaluation gives no 'top1', only top2; did you mean 'top2'?"


def test_after_a_success_one_that_lacks_a_metric_fails_alone_and_is_named(tmp_path):
    class Lacking(Evaluate):
        def __call__(self, arch):
            metrics = super().__call__(arch)
            return {"top2": 1.0} if some(self.seen[-1]) else metrics

    told, evaluate = [], Lacking(SPACE)
    front, _ = search(tmp_path, 30, evaluate, on_event=lambda progress: told.append(progress.notes))
    failed = [identity for identity in evaluate.seen if some(identity)]
    assert len(failed) > MAX_FAILURE_NOTES
    assert (front.evaluations, front.failed) == (30, len(failed))
    assert {record.identity: record.error for record in stored(tmp_path) if record.error} == (
        dict.fromkeys(failed, LACKS)
    )
    assert told[-1] == tuple(f"arch {each} failed: {LACKS}" for each in failed[:MAX_FAILURE_NOTES])
    assert read_status(tmp_path).failed == len(failed)


def test_so_it_does_as_the_first_one_of_a_later_run(tmp_path):
    _, before = search(tmp_path, 12)
    first = []

    def lacking(arch):
        first.append(SPACE.identity(arch))
        return {"top2": 1.0} if len(first) == 1 else before(arch)

    assert search(tmp_path, 15, lacking)[0].failed == 1
    assert identities(record for record in stored(tmp_path) if record.error) == first[:1]


def test_before_a_success_it_is_an_error_of_the_callable(tmp_path):
    outcomes = iter([ValueError("no"), {"top2": 1.0}])

    def lacking(arch):
        outcome = next(outcomes)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    with pytest.raises(InputError, match=r"^the evaluation gives no 'top1', only top2"):
        search(tmp_path, 12, lacking)
    assert stored(tmp_path) == []


def test_the_command_line_tries_failures_again_when_it_is_told_to(searched, run, capsys):
    command = ["search", str(searched), "--run", str(run), "--search.name", "other"]
    command += ["--search.trials", "8"]
    assert main([*command, "--search.time_limit", "1e-6"]) == 2
    error = capsys.readouterr().err
    assert "none of the 8 evaluations succeeded, the first failed with TimeoutError" in error
    assert error.count("\n") == 1
    assert main(["export", *command[1:]]) == 2
    error = capsys.readouterr().err
    assert "front.yaml" in error
    assert error.count("\n") == 1
    assert not (run / "export").exists()
    assert main([*command, "--search.retry_failed"]) == 0
    assert "8 evaluations, 0 failed" in " ".join(capsys.readouterr().out.split())
    # Nor does the run keep it where it is given with the search that plain commands mean.
    assert main([*command[:4], "--search.retry_failed"]) == 0
    assert read_yaml(run / "config.yaml").data["search"]["retry_failed"] is False
