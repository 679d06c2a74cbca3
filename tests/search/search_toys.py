"""Small spaces and callables that evaluate in no time."""

import hashlib
from dataclasses import fields

from space_toys import deit_small

from search.evaluators.base import evaluate_safely
from search.problem.budget import parse_budget
from search.problem.evaluation import Record
from search.problem.objectives import parse_objectives
from search.problem.problem import Problem
from search.study.options import SearchOptions
from search.study.samplers import parse_sampler
from search.study.search import Search
from search.study.study import Study
from space import SearchSpace, macs

# GP's first proposals come at once; its others take a second each.
SAMPLERS = (
    "NSGAIISampler",
    {"name": "NSGAIISampler", "population_size": 5, "mutation_prob": 0.3},
    "NSGAIIISampler",
    "TPESampler",
    {"name": "TPESampler", "multivariate": False, "n_startup_trials": 4},
    "EvolutionSampler",
    {"name": "GPSampler", "n_startup_trials": 8},
    "RandomSampler",
    "QMCSampler",
)


OPTIONS = frozenset(each.name for each in fields(SearchOptions))


def with_options(**values):
    """Arguments of `run_search`, where those of `SearchOptions` may stand among the others."""
    options = {name: value for name, value in values.items() if name in OPTIONS}
    others = {name: value for name, value in values.items() if name not in OPTIONS}
    return others | {"options": SearchOptions(**options)}


def toy_space():
    """Every axis; 704 archs."""
    values = {
        "pool": {"blocks": [2, 4], "kinds": ["avg2d", "conv2d"], "grids": [7, 4]},
        "share": {"blocks": [1, 3, 5], "max_run": 1},
        "skip": {"blocks": [1, 3, 5], "ratios": [0.5], "selectors": ["map", "cls"]},
    }
    return SearchSpace.from_dict(values, deit_small(6))


def middle_space():
    """48 archs."""
    values = {
        "pool": {"blocks": [2, 4], "kinds": ["avg2d"], "grids": [7, 4]},
        "share": {"blocks": [1, 3], "max_run": 1},
        "skip": {"blocks": [3], "ratios": [0.5], "selectors": ["map", "cls"]},
    }
    return SearchSpace.from_dict(values, deit_small(5))


def small_space():
    """27 archs."""
    values = {"skip": {"blocks": [1, 3, 5], "ratios": [0.25, 0.5]}}
    return SearchSpace.from_dict(values, deit_small(7))


def all_archs(space):
    return [space.graph.path(rank) for rank in range(space.size())]


def noise(text):
    """A number in [0, 1) that looks random and always is the same."""
    return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) / (1 << 32)


class Evaluate:
    """A made-up accuracy: grows with the MACs, and differs from arch to arch.

    Remembers what it was called with.
    """

    def __init__(self, space):
        self.space = space
        self.seen = []

    def __call__(self, arch):
        self.seen.append(self.space.identity(arch))
        share = macs(arch, self.space.shape) / macs(self.space.largest(), self.space.shape)
        top1 = 0.5 + 0.3 * share**0.5 + 0.1 * noise(self.seen[-1])
        return {"top1": top1, "latency_ms": 1 + 9 * share * noise("latency" + self.seen[-1])}


def problem_of(space, objectives=("top1", "macs"), budget=None):
    parsed = parse_objectives(objectives)
    return Problem(space, parsed, parse_budget(budget, space, parsed))


def study_of(space, trials, sampler="NSGAIISampler", budget=None, seed=0, **others):
    objectives = others.pop("objectives", ("top1", "macs"))
    problem = problem_of(space, objectives, budget)
    search = Search(
        problem, parse_sampler(sampler), trials, seed, initial=others.pop("initial", None)
    )
    return Study(search, **others)


def drive(study, evaluate, most=1 << 30):
    """Evaluate one job after the other; the jobs."""
    jobs = []
    while len(jobs) < most and (job := study.take_job()) is not None:
        jobs.append(job)
        study.finish(job, evaluate_safely(evaluate, job.arch))
    return jobs


def identities(jobs):
    return [job.identity for job in jobs]


def records_of(space, values, excess=None):
    """Records of these values; None for a failure."""
    archs = all_archs(space)
    return [
        Record(
            i,
            space.identity(archs[i]),
            archs[i],
            {} if value is None else {"top1": value[0], "macs": float(macs(archs[i], space.shape))},
            value,
            {} if excess is None else {"latency_ms": excess[i]},
            0.0,
            "failed" if value is None else None,
        )
        for i, value in enumerate(values)
    ]
