"""A clock that is set back by an hour between two commands, and again while the second runs."""

import time
from pathlib import Path

import pytest
from killing import in_journal, wait_for_evaluation
from started import evaluated, start, wait_for

from search.study.status import STATUS_FILE, format_status, read_status
from search.study.storage import read_trials

pytestmark = pytest.mark.cluster
CLOCKS = Path(__file__).parent / "clocks"
TRIALS = 40
HOUR = 3600


def sane(status):
    numbers = (status.rate, status.done, status.failed, status.leased)
    return (
        min(numbers) >= 0 and status.done <= status.total and "-" not in format_status(status)[20:]
    )


@pytest.mark.parametrize("workers", [0, 2])
def test_a_clock_that_steps_back_loses_nothing(tmp_path, ledger, workers):
    options = {"trials": TRIALS, "workers": workers, "seconds": 0.2}
    first = start(tmp_path, **options)
    wait_for(lambda: evaluated(tmp_path).total() >= 10)
    first.kill()
    first.wait()
    before, search = in_journal(tmp_path), tmp_path / "search"
    steps = tmp_path / "steps"
    began = time.monotonic()
    environ = {"PYTHONPATH": str(CLOCKS), "CLOCK_STEPS_WITH": str(steps)}
    second = start(tmp_path, environ, **options)
    wait_for_evaluation(tmp_path, second)
    seconds, seen = time.monotonic() - began, []
    while second.poll() is None:
        if (search / STATUS_FILE).exists():
            seen.append(read_status(search))
        if evaluated(tmp_path).total() >= 25:
            steps.touch()
        time.sleep(0.1)
    assert second.returncode == 0
    seen.append(read_status(search))
    assert all(map(sane, seen))
    after = in_journal(tmp_path)
    assert len(set(after)) == TRIALS
    hours = {round((time.time() - status.time) / HOUR) for status in seen}
    assert 2 in hours, "it did step, after a start that was an hour behind"
    if workers == 0:
        ends = [each.datetime_complete for each in read_trials(search)]
        assert ends != sorted(ends)
    ledger.add(
        53,
        f"clock set back by an hour between two runs and in one, {workers} workers",
        2,
        lost=len(set(before) - set(after)),
        doubled=len(after) - len(set(after)),
        seconds=seconds,
        told="nothing; status and rate stay right",
    )
