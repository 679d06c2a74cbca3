"""Initial archs of a search that learns: evenly spaced in MACs, and hand-made ones."""

from __future__ import annotations

from contextlib import suppress

import numpy as np

from search.problem.costs import mac_limit
from search.problem.problem import Problem
from space.arch import Arch
from space.baselines import baselines
from space.cost import macs
from space.utils.errors import InputError

RUNGS = 10


def initial_archs(problem: Problem, seed: int) -> list[Arch]:
    """Return distinct canonical archs inside the budget; the same ones for the same seed.

    The full arch, the arch of fewest MACs, hand-made archs (`space.baselines`), and archs drawn at
    evenly spaced MACs between the two ends. A latency budget lowers the upper end by its share, and
    a range raises the lower one.
    """
    space, budget = problem.space, problem.budget
    rng = np.random.default_rng([seed, 0])
    largest = space.largest()
    full = float(macs(largest, space.shape))
    smallest = low = float(macs(space.smallest(), space.shape))
    limit = mac_limit({each.name: each.most for each in budget.limits}, space.shape)
    shares = [
        each.most / max(each.cost(largest), 1e-9)
        for each in budget.limits
        if each.name in problem.latencies
    ]
    top = max(min(full if limit is None else limit, full * min([1.0, *shares])), low)
    floors = [mac_limit({each.name: each.least}, space.shape) for each in budget.limits]
    low = min(max([low, *filter(None, floors)]), top)
    hand_made = [each.arch for each in baselines(space, top) if each.arch is not None]
    archs = [largest, space.smallest(), *hand_made]
    step = (top - low) / RUNGS
    # The smallest arch stands for the first rung, unless it is below a range.
    for i in range(0 if low > smallest else 1, RUNGS):
        middle = low + step * (i + 0.5)
        with suppress(InputError):  # no arch has MACs in this band
            archs.append(space.sample(rng, macs=(middle - step / 2, middle + step / 2)))
    # Equal canonical forms are the same arch, to be proposed once.
    distinct = dict.fromkeys(space.canonical(arch) for arch in archs)
    return [arch for arch in distinct if budget.inside(arch)]
