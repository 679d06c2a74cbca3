"""A search whose driver is killed at a random moment, and the same command again."""

import random
import signal
import time
from dataclasses import dataclass

from started import evaluated, start, wait_for

from search.study.storage import JOURNAL, read_trials
from search.utils.file_lock import LOCK_FILE

TRIALS = 40
SECONDS = 0.05


@dataclass(frozen=True)
class Kill:
    """What came of one.

    Args:
        lost, doubled: evaluations that were stored when the driver was dead.
        seconds: from the start of the same command to its first finished evaluation.
    """

    lost: int
    doubled: int
    seconds: float


def in_journal(folder):
    """Identities of the stored trials, doubled ones too."""
    if not (folder / "search" / JOURNAL).exists():
        return []
    return [trial.user_attrs["identity"] for trial in read_trials(folder / "search")]


def wait_for_evaluation(folder, process):
    """Wait for the first that a search finishes; workers of one before it may still be at work."""
    lock = folder / "search" / LOCK_FILE
    wait_for(lambda: lock.exists() and f'"pid": {process.pid},' in lock.read_text())
    done = evaluated(folder).total()
    wait_for(lambda: evaluated(folder).total() > done or process.poll() is not None)


def kill_and_go_on(folder, seed, workers, storage=None, stored=in_journal):
    """Kill the driver once, at a random moment, and finish the search."""
    rng = random.Random(seed)
    options = {"trials": TRIALS, "workers": workers, "storage": storage}
    first = start(folder, seconds=SECONDS, **options)
    least = rng.randrange(0, TRIALS // 2)
    wait_for(lambda: evaluated(folder).total() >= least)
    # At 0 it may be anywhere in its start; and anywhere in an evaluation, or in what follows one.
    time.sleep(rng.uniform(0, 2 * SECONDS if least else 1.5))
    assert first.poll() is None
    first.kill()
    assert first.wait(timeout=10) == -signal.SIGKILL
    before = stored(folder)
    began = time.monotonic()
    second = start(folder, seconds=SECONDS, **options)
    wait_for_evaluation(folder, second)
    seconds = time.monotonic() - began
    assert second.wait(timeout=120) == 0
    after = stored(folder)
    assert len(set(after)) == TRIALS
    again = sum(evaluated(folder)[identity] > 1 for identity in before)
    return Kill(
        lost=len(set(before) - set(after)),
        doubled=len(after) - len(set(after)) + again,
        seconds=seconds,
    )


def summed(kills):
    """Many of them, as a row of the ledger."""
    return {
        "injected": len(kills),
        "lost": sum(kill.lost for kill in kills),
        "doubled": sum(kill.doubled for kill in kills),
        "seconds": max(kill.seconds for kill in kills),
        "told": "nothing; the same command goes on",
    }
