"""Comparison of samplers for a given number of evaluations, on the trained supernet of a run.

    python benchmarks/samplers.py CONFIG [--run DIR] [SEEDS] [TRIALS]

Each arch is evaluated once for all searches. For each sampler, after a quarter, a half and all of
the evaluations: the best cross entropy within a budget, as a mean over the budgets of 35, 40, ...
70 % of the MACs; mean and standard deviation over the seeds.
"""

from __future__ import annotations

import sys
from statistics import mean, stdev

import numpy as np

from search.cli.parse import parse_call
from search.pipeline.context import RunContext
from search.pipeline.run_evaluator import RunEvaluator
from search.run import run_search
from space import macs

METRIC = "cross_entropy"
SAMPLERS = {
    "random": "RandomSampler",
    "NSGA-II, population 50": {"name": "NSGAIISampler", "population_size": 50},
    "NSGA-II, population 20": {"name": "NSGAIISampler", "population_size": 20},
    "NSGA-III, population 20": {"name": "NSGAIIISampler", "population_size": 20},
    "evolution": "EvolutionSampler",
    "TPE": "TPESampler",
    "TPE, one gene at a time": {"name": "TPESampler", "multivariate": False},
}
BUDGETS = np.arange(0.35, 0.701, 0.05)


class CachedEvaluator:
    """Evaluates each arch once; also returns its MACs as a share of the full network's."""

    def __init__(self, evaluate):
        self.evaluate = evaluate
        self.space = evaluate.supernet.space
        self.full = macs(self.space.largest(), self.space.shape)
        self.cache = {}

    def __call__(self, arch):
        identity = self.space.identity(arch)
        if identity not in self.cache:
            self.cache[identity] = self.evaluate(arch)[METRIC]
        return self.cache[identity], macs(arch, self.space.shape) / self.full


def search(evaluator, sampler, seed, trials):
    """Return (cross entropy, share of MACs) of each evaluation of a search, in order."""
    results = []

    def evaluate(arch):
        results.append(evaluator(arch))
        return {METRIC: results[-1][0]}

    run_search(
        space=evaluator.space,
        evaluate=evaluate,
        objectives=[METRIC, "macs"],
        budget=f"macs={BUDGETS[-1]:.0%}",
        trials=trials,
        sampler=sampler,
        seed=seed,
    )
    return results


def draw_evenly(evaluator, seed, trials):
    """Return the same for archs drawn evenly over the MACs within the budget, without learning."""
    rng, results = np.random.default_rng(seed), []
    while len(results) < trials:
        arch = evaluator.space.mac_bands.sample_evenly(rng)
        if macs(arch, evaluator.space.shape) <= BUDGETS[-1] * evaluator.full:
            results.append(evaluator(arch))
    return results


def show(name, runs):
    trials, cells = len(runs[0]), []
    for count in (trials // 4, trials // 2, trials):
        values = [
            mean(min(value for value, cost in run[:count] if cost <= budget) for budget in BUDGETS)
            for run in runs
        ]
        cells.append(f"{mean(values):.4f} +- {stdev(values):.4f}")
    print(f"{name:26} {'   '.join(cells)}", flush=True)


def main() -> None:
    words = sys.argv[1:]
    numbers = [int(word) for word in words if word.isdigit()]
    seeds, trials = numbers or (5, 120)
    call = parse_call(["search", *(word for word in words if not word.isdigit())])
    assert call.config is not None
    evaluator = CachedEvaluator(RunEvaluator(RunContext(call.config, call.file))())
    show("drawn evenly over the MACs", [draw_evenly(evaluator, s, trials) for s in range(seeds)])
    for name, sampler in SAMPLERS.items():
        show(name, [search(evaluator, sampler, seed, trials) for seed in range(seeds)])


if __name__ == "__main__":
    main()
