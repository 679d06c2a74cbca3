"""The in-memory Optuna study of a sampler, which proposes genes and is told their values.

Optuna keeps every trial, so over-budget and repeated proposals accumulate. `rebuild` starts a new
study from the finished trials; for a genetic sampler, from the fittest of them.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterable, Mapping, Sequence

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.samplers import BaseGASampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from search.problem.evaluation import Record
from search.problem.problem import Problem
from search.study.samplers import SamplerChoice, silence_optuna
from space.genes import Genes

MIN_SKIPPED = 1000
# A genetic sampler iterates over all trials at each ask.
MAX_GENETIC_TRIALS = 1000

Distributions = dict[str, optuna.distributions.BaseDistribution]


class _Gene(CategoricalDistribution):
    """A distribution that is compared by identity first and never copied, for speed and memory.

    While an old trial is running, Optuna compares every gene of every later trial at each ask.
    """

    def __eq__(self, other: object) -> bool:
        return self is other or super().__eq__(other)

    __hash__ = CategoricalDistribution.__hash__

    def __deepcopy__(self, memo: object) -> _Gene:
        return self


class Proposals:
    """The proposals of a sampler, by Optuna's ask and tell.

    Args:
        problem: Problem that defines the genes and the objectives.
        sampler: Sampler and its arguments.
        seed: Seed of the sampler, together with the number of finished trials.
        trials: Finished trials of an earlier run.
    """

    def __init__(
        self,
        problem: Problem,
        sampler: SamplerChoice,
        seed: int,
        trials: Iterable[FrozenTrial] = (),
    ) -> None:
        categories = Genes(problem.space).categories
        self._distributions: Distributions = {
            gene: _Gene(each) for gene, each in categories.items()
        }
        self._stored_distributions: Distributions = {
            gene: CategoricalDistribution(each) for gene, each in categories.items()
        }
        self._problem = problem
        self._sampler = sampler
        self._seed = seed
        self._rebuilds = 0
        self._start(list(trials))

    @property
    def needs_rebuild(self) -> bool:
        """Whether unevaluated trials are so many that asking slows down."""
        if isinstance(self._study.sampler, BaseGASampler):
            return self._skipped + len(self._finished) > MAX_GENETIC_TRIALS
        return self._skipped > max(MIN_SKIPPED, len(self._finished))

    def rebuild(self) -> None:
        """Restart the study from its finished trials, without the running ones."""
        trials = self._study.get_trials(deepcopy=False)
        self._start([trials[number] for number in self._finished])

    def _start(self, trials: list[FrozenTrial]) -> None:
        # A new seed each time: the old one would repeat earlier proposals.
        seed = (self._seed * 1_000_003 + len(trials) * 1009 + self._rebuilds) % (1 << 32)
        self._rebuilds += 1
        self._skipped = 0
        sampler = self._sampler.make(self._problem, seed)
        directions = [objective.optuna_direction for objective in self._problem.objectives]
        with silence_optuna():
            self._study = optuna.create_study(directions=directions, sampler=sampler)
        if self._sampler.spec.own is None:
            self._cache_search_space(sampler)
        trials = [self._share_memory(trial) for trial in trials]
        if isinstance(sampler, BaseGASampler):
            trials = _select_fittest(sampler, trials, self._study.directions)
        self._study.add_trials(trials)
        self._finished = list(range(len(trials)))

    def _cache_search_space(self, sampler: optuna.samplers.BaseSampler) -> None:
        """Cache the search space, which Optuna infers at each ask.

        It iterates over all trials after the oldest running one: many, with workers.
        """
        infer = sampler.infer_relative_search_space
        variable_genes = sum(not gene.single() for gene in self._distributions.values())
        cached: Distributions = {}

        def infer_cached(study: optuna.Study, trial: FrozenTrial) -> Distributions:
            nonlocal cached
            if len(cached) < variable_genes:
                cached = infer(study, trial)
            return cached

        sampler.infer_relative_search_space = infer_cached  # type: ignore[method-assign]

    def ask(self, genes: Mapping[str, str] | None = None) -> optuna.Trial:
        """Start a trial with the sampler's proposal, or with the given genes."""
        if genes is not None:
            self._study.enqueue_trial(dict(genes))
        with self._sampler.limit_threads():
            return self._study.ask(self._distributions)

    def finish(self, trial: optuna.Trial, values: Sequence[float] | None) -> FrozenTrial:
        """Finish a trial with its objective values, or as failed if they are None."""
        self._finished.append(trial.number)
        frozen = self._tell(trial, values)
        # Storages serialise Optuna's own classes only.
        frozen.distributions = self._stored_distributions
        return frozen

    def skip(self, trial: optuna.Trial, record: Record | None) -> None:
        """Finish a trial that is not evaluated: its arch is over budget or has a record already."""
        self._skipped += 1
        for name, excess in (record.excess if record else {}).items():
            trial.set_constraint(name, excess)
        self._tell(trial, record.values if record else None)

    def _share_memory(self, trial: FrozenTrial) -> FrozenTrial:
        """Copy a stored trial, sharing distributions and strings to save memory."""
        lean = copy.copy(trial)
        lean.params = {gene: sys.intern(value) for gene, value in trial.params.items()}
        lean.distributions = self._distributions
        lean.user_attrs = {}
        return lean

    def _tell(self, trial: optuna.Trial, values: Sequence[float] | None) -> FrozenTrial:
        state = TrialState.FAIL if values is None else TrialState.COMPLETE
        return self._study.tell(trial, values, state)


def _select_fittest(
    sampler: BaseGASampler, trials: Sequence[FrozenTrial], directions: Sequence[StudyDirection]
) -> list[FrozenTrial]:
    """Select a first generation from the finished trials: the fittest.

    Optuna would recurse through all earlier generations, whose numbers mean little after a restart:
    the repeated proposals that filled them are gone.
    """
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    for trial in complete:
        key = f"{type(sampler).__name__}:generation"
        trial.system_attrs = {**trial.system_attrs, key: 0}
    if len(complete) <= (sampler.population_size or 0):
        return complete
    with silence_optuna():
        study = optuna.create_study(directions=directions, sampler=sampler)
    study.add_trials(complete)
    return sampler.get_parent_population(study, 1)
