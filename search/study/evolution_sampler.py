"""A genetic sampler that spreads its evaluations evenly over the MACs.

The front is needed at every budget, but in a genetic search over accuracy and MACs nearly every
cheap arch is non-dominated, so the population crowds there. Here each proposal aims at given MACs
and is bred from the archs evaluated nearest to it, as in MAP-Elites (Mouret and
Clune, arXiv 1504.04909), with the tournaments of Real et al. (arXiv 1802.01548).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.samplers import RandomSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from search.front.hypervolume import apply_signs, weakly_dominates
from search.problem.costs import mac_costs
from search.problem.problem import Problem
from space.cost import macs
from space.genes import Genes

# Measured on the quickstart's supernet, see docs/search.md.
NEIGHBOURS = 20  # nearest archs in MACs, which parents are chosen from
CONTENDERS = 5  # size of a tournament, whose winner is a parent
CROSSOVER = 0.5  # probability that a span of blocks comes from a second parent
MUTATIONS = 1.5  # mean number of genes that change
WIDTH = 0.03  # greatest distance of a child from its aim, as a share of the full arch's MACs
TRIES = 200
# Golden ratio: its multiples modulo 1 cover [0, 1) evenly, however many there are.
GOLDEN = (5**0.5 - 1) / 2

Assignment = dict[str, str]


@dataclass(frozen=True)
class _Candidate:
    """A finished trial: genes, MACs of the arch, losses without MACs, and constraint excess."""

    genes: Mapping[str, str]
    macs: int
    losses: tuple[float, ...]
    excess: float


class EvolutionSampler(RandomSampler):
    """A genetic sampler among archs of similar MACs; a random one before the first result.

    Proposals are new and inside the budget, if one of `TRIES` children is.

    Args:
        problem: Problem of the study: its genes are the parameters, its objectives the values.
        seed: Seed of every random choice.
    """

    def __init__(self, problem: Problem, seed: int) -> None:
        super().__init__(seed)
        self._problem = problem
        self._genes = Genes(problem.space)
        self._generator = np.random.default_rng(seed)
        self._start = self._generator.random()
        self._width = WIDTH * macs(problem.space.largest(), problem.space.shape)
        self._finished: set[int] = set()
        self._tried: set[str] = set()
        self._candidates: dict[str, _Candidate] = {}
        self._space: dict[str, BaseDistribution] = {}

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        if "fixed_params" in trial.system_attrs:
            return {}
        self._read(study)
        return self._space

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        if not search_space:
            return {}
        candidates = list(self._candidates.values())
        costs = np.array([each.macs for each in candidates])
        position = (self._start + trial.number * GOLDEN) % 1.0
        # One width beyond the evaluated MACs, so that both ends of the space are reached.
        low, high = costs.min() - self._width, costs.max() + self._width
        aim = low + position * (high - low)
        nearest = np.argsort(np.abs(costs - aim), kind="stable")[:NEIGHBOURS]
        return self._breed(_rank([candidates[i] for i in nearest]), aim)

    def _read(self, study: Study) -> None:
        """Read the trials that are new or have finished since the last call."""
        for trial in study.get_trials(deepcopy=False):
            if trial.number in self._finished or not trial.params:
                continue
            arch = self._genes.decode(trial.params)
            identity = self._problem.space.identity(arch)
            self._tried.add(identity)
            if trial.state.is_finished():
                self._finished.add(trial.number)
            if trial.state is TrialState.COMPLETE:
                losses = apply_signs(trial.values, self._problem.objectives)
                # The aim determines the MACs, so they are no loss unless they are the only one.
                names = (objective.name for objective in self._problem.objectives)
                known = mac_costs(self._problem.space.shape)
                others = [x for name, x in zip(names, losses, strict=True) if name not in known]
                self._candidates[identity] = _Candidate(
                    trial.params,
                    macs(arch, self._problem.space.shape),
                    tuple(others) or losses,
                    sum(max(0.0, each) for each in trial.constraints.values()),
                )
                self._space = dict(trial.distributions)

    def _breed(self, parents: Sequence[_Candidate], aim: float) -> Assignment:
        """Breed the first new child near the aim, else the nearest new one, else any child."""
        nearest: tuple[float, Assignment] | None = None
        child: Assignment = {}
        for _ in range(TRIES):
            child = dict(self._pick(parents).genes)
            if self._generator.random() < CROSSOVER:
                self._cross(child, self._pick(parents).genes)
            self._mutate(child)
            arch = self._genes.decode(child)
            identity = self._problem.space.identity(arch)
            if identity in self._tried or not self._problem.budget.inside(arch):
                continue
            distance = abs(macs(arch, self._problem.space.shape) - aim)
            if distance <= self._width:
                return child
            if nearest is None or distance < nearest[0]:
                nearest = distance, child
        return nearest[1] if nearest else child

    def _pick(self, ranked: Sequence[_Candidate]) -> _Candidate:
        """Return the winner of a tournament among parents sorted by rank."""
        count = min(CONTENDERS, len(ranked))
        return ranked[int(self._generator.choice(len(ranked), size=count, replace=False).min())]

    def _cross(self, genes: Assignment, other: Mapping[str, str]) -> None:
        """Copy a random span of blocks from another arch into the genes."""
        depth = self._problem.space.shape.depth
        first, last = sorted(self._generator.integers(0, depth, size=2))
        for gene, value in other.items():
            if first <= int(gene.rpartition(".")[2]) <= last:
                genes[gene] = value

    def _mutate(self, genes: Assignment) -> None:
        """Change random genes; one that is not plain becomes plain half of the time."""
        categories = self._genes.categories
        names = list(categories)
        count = min(len(names), max(1, int(self._generator.poisson(MUTATIONS))))
        for i in self._generator.choice(len(names), size=count, replace=False):
            plain, *rest = categories[names[i]]
            others = [value for value in rest if value != genes[names[i]]]
            if genes[names[i]] != plain and (not others or self._generator.random() < 0.5):
                genes[names[i]] = plain
            else:
                genes[names[i]] = others[int(self._generator.integers(len(others)))]


def _rank(candidates: Sequence[_Candidate]) -> list[_Candidate]:
    """Sort candidates: inside measured budgets first, then by how many others dominate each."""
    losses: NDArray[np.float64] = np.array([each.losses for each in candidates])
    # (i, j): candidate j is nowhere worse than i.
    no_worse = weakly_dominates(losses[None], losses[:, None])
    dominated_by = (no_worse & ~no_worse.T).sum(axis=1)
    order = sorted(range(len(candidates)), key=lambda i: (candidates[i].excess, dominated_by[i]))
    return [candidates[i] for i in order]
