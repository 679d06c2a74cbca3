"""Which sampler finds the best front in so many evaluations, on the trained supernet of a run.

    python benchmarks/samplers.py CONFIG [--run DIR] [SEEDS] [TRIALS]

Each search evaluates for real; an arch that an earlier search has evaluated is looked up. Per
sampler: the hypervolume after a quarter, a half and all of the evaluations, as a share of that of
everything that any search has seen; mean and standard deviation over the seeds.
"""

from __future__ import annotations

import sys
from statistics import mean, stdev

from search.evaluator import RunEvaluator
from search.hypervolume import hypervolume
from search.parsing import parse_call
from search.run import run_search
from space import macs

SAMPLERS = {
    "random": "RandomSampler",
    "NSGA-II, population 50": {"name": "NSGAIISampler", "population_size": 50},
    "NSGA-II, population 20": {"name": "NSGAIISampler", "population_size": 20},
    "NSGA-II, 20, mutation 0.1": {
        "name": "NSGAIISampler",
        "population_size": 20,
        "mutation_prob": 0.1,
    },
    "TPE": "TPESampler",
    "TPE, one gene at a time": {"name": "TPESampler", "multivariate": False},
}


class Looked:
    """Evaluates each arch once, for all searches."""

    def __init__(self, evaluate, identity):
        self.evaluate, self.identity = evaluate, identity
        self.known = {}

    def __call__(self, arch):
        name = self.identity(arch)
        if name not in self.known:
            self.known[name] = self.evaluate(arch)
        return self.known[name]


def main() -> None:
    words = sys.argv[1:]
    numbers = [words.pop() for word in words[::-1] if word.isdigit()][::-1]
    seeds, trials = (int(number) for number in (numbers or ("5", "120")))
    call = parse_call(["search", *words])
    config = call.config
    assert config is not None
    made = RunEvaluator(config, call.file)()
    space = made.supernet.space
    evaluate = Looked(made, space.identity)
    found: dict[str, list[list[tuple[float, ...]]]] = {}
    for initial, kind in ((None, "ladder and hand-made archs first"), ((), "from nothing")):
        for name, sampler in SAMPLERS.items():
            for seed in range(seeds):
                found.setdefault(f"{name}; {kind}", []).append(
                    points_of(
                        config, space, evaluate, sampler, seed=seed, trials=trials, initial=initial
                    )
                )
            print(f"{name}; {kind}: {len(evaluate.known)} archs seen", file=sys.stderr)
    everything = [point for runs in found.values() for run in runs for point in run]
    corner = tuple(max(values) for values in zip(*everything, strict=True))
    whole = hypervolume(everything, corner)
    print(
        f"{seeds} seeds, {trials} evaluations; hypervolume in % of all {len(evaluate.known)} archs"
    )
    for name, runs in found.items():
        cells = []
        for share in (4, 2, 1):
            volumes = [100 * hypervolume(run[: trials // share], corner) / whole for run in runs]
            cells.append(f"{mean(volumes):6.2f} +- {stdev(volumes):4.2f}")
        print(f"{name:60} {'   '.join(cells)}")


def points_of(config, space, evaluate, sampler, *, seed, trials, initial):
    """Signed objectives of a search's evaluations, in their order; smaller is better."""
    seen: list[tuple[float, ...]] = []

    def noted(arch):
        metrics = evaluate(arch)
        seen.append((metrics["cross_entropy"], float(macs(arch, space.shape))))
        return metrics

    run_search(
        space=space,
        evaluate=noted,
        objectives=["cross_entropy", "macs"],
        budget=config.search.budget,
        trials=trials,
        sampler=sampler,
        seed=seed,
        initial=initial,
    )
    return seen


if __name__ == "__main__":
    main()
