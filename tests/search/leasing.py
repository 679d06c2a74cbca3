"""Leases over toy studies, with a clock that tests turn."""

from search_toys import study_of, toy_space

from search.distributed.leases import Leases
from search.problem.evaluation import Outcome

# More exchanges than any of these searches has.
MANY = 300


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def leases_of(trials=20, workers=2, space=None, ahead=1, **others):
    clock = Clock()
    space = space or toy_space()
    leases = Leases(study_of(space, trials, **others), workers, clock, ahead)
    return leases, clock


def done(jobs, seconds=1.0):
    return [(job, Outcome({"top1": 0.5}, None, seconds)) for job in jobs]


def exchanged(leases, jobs, name="a", again=False):
    """One worker exchanges until the search is over, each time twice where an answer is lost."""
    for _ in range(MANY):
        if jobs is None:
            return
        if again:
            leases.exchange(name, done(jobs), [])
        jobs = leases.exchange(name, done(jobs), [])
    raise AssertionError("the search does not end")
