"""What a search that learns starts from: an even ladder over the budget, and hand-made archs."""

from __future__ import annotations

import numpy as np

from search.problem.problem import Problem
from space.arch import Arch
from space.baselines import baselines
from space.cost import macs
from space.utils.errors import InputError

RUNGS = 10


def initial_archs(problem: Problem, seed: int) -> list[Arch]:
    """Archs inside the budget, distinct and canonical; the same ones for the same seed.

    The full arch, the arch of fewest MACs, hand-made archs (`space.baselines`), and archs drawn at
    evenly spaced MACs between the two ends. Where latencies are budgeted, the upper end is at the
    same share of the full arch's MACs.
    """
    space, budget = problem.space, problem.budget
    rng = np.random.default_rng([seed, 0])
    largest = space.largest()
    full = float(macs(largest, space.shape))
    low = macs(space.smallest(), space.shape)
    shares = [
        limit.most / max(limit.of(largest), 1e-9)
        for limit in budget.limits
        if limit.name == "macs" or limit.name in problem.latencies
    ]
    top = max(full * min([1.0, *shares]), low)
    made = [each.arch for each in baselines(space, top) if each.arch is not None]
    rungs = [_rung(problem, rng, low, top, i) for i in range(1, RUNGS)]
    archs = [largest, space.smallest(), *made, *(rung for rung in rungs if rung is not None)]
    # Archs are hashed by their canonical form here, so each is proposed once.
    distinct = dict.fromkeys(space.canonical(arch) for arch in archs)
    return [arch for arch in distinct if budget.inside(arch)]


def _rung(
    problem: Problem, rng: np.random.Generator, low: float, top: float, i: int
) -> Arch | None:
    """An arch near the i-th of RUNGS even steps of MACs."""
    step = (top - low) / RUNGS
    middle = low + step * (i + 0.5)
    try:
        return problem.space.sample(rng, macs=(middle - step / 2, middle + step / 2))
    except InputError:
        return None
