"""The search loop's state: the next arch to evaluate, and the records so far.

Every evaluation is of an arch inside the budget that was not evaluated before. Neither Ray nor
evaluators are used here: the driver takes jobs and returns their outcomes.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import optuna

from search.problem.evaluation import Job, Outcome, Record, Source
from search.problem.feasible import FeasibleArchs
from search.study.first_evaluations import FirstEvaluations
from search.study.proposals import Proposals
from search.study.search import Search
from search.study.storage import Store
from search.study.trial_format import make_attributes, number_records, read_records
from search.study.warm_start import initial_archs
from space.arch import Arch
from space.genes import Genes
from space.utils.errors import InputError

# Maximum patience after a uniform draw, until the sampler proposes a new arch: near the end of a
# small space every evaluation would otherwise cost as many asks as the first.
MAX_AFTER_DRAW = 10


@dataclass
class Counts:
    """Counts of proposals that were not evaluated.

    Args:
        refused: Proposals over budget.
        repeated: Proposals of archs evaluated before, or being evaluated.
        drawn: Uniform draws after too many of those in a row.
        reused: Evaluations whose metrics came from another search.
    """

    refused: int = 0
    repeated: int = 0
    drawn: int = 0
    reused: int = 0


class Study:
    """The state of a search, which gives out jobs until `trials` evaluations are finished.

    Args:
        search: The search.
        store: Storage of finished evaluations; None to keep them in memory.
        reusable: Metrics that other searches measured, by identity.

    Attributes:
        records: Finished evaluations in the order of finishing; the last one of each arch.
        trials: As in `search`, or at least the number of stored ones if failures are retried.
        ended: Reason why there are no more jobs; None while there are.

    Raises:
        InputError: No arch is inside the budget, an initial arch or a stored trial does not fit the
            space, or all trials are stored and failed.
    """

    def __init__(
        self,
        search: Search,
        store: Store | None = None,
        reusable: Mapping[str, Mapping[str, float]] | None = None,
    ) -> None:
        self.problem = problem = search.problem
        self.trials = search.trials
        self.seed = search.seed
        self.counts = Counts()
        self.ended: str | None = None
        self._sampler = search.sampler.spec
        self._reusable = reusable or {}
        self._genes = Genes(problem.space)
        stored = store.trials if store else []
        self.records = read_records(stored, problem)
        self._attempts = Counter(trial.user_attrs.get("identity") for trial in stored)
        self._first_evaluations = FirstEvaluations(store, self.records)
        retry = search.options.retry_failed
        failed = [each for each in self.records if retry and each.error is not None]
        if failed:
            self.trials = max(self.trials, len(self.records))
            self.records = number_records(each for each in self.records if each.error is None)
        self._seen: dict[str, Record | None] = {each.identity: each for each in self.records}
        self._rng = np.random.default_rng([self.seed, 1, len(self.records)])
        self._feasible = FeasibleArchs(problem.space, problem.budget)
        self._feasible.check(self._rng)
        self._proposals = Proposals(problem, search.sampler, self.seed, stored)
        self._open: dict[str, tuple[Job, optuna.Trial]] = {}
        initial: Iterable[Arch] | None = search.initial
        if initial is None:
            initial = initial_archs(problem, self.seed) if self._sampler.learns else ()
        self._initial = deque(self._make_job(each.arch, "retry") for each in failed)
        self._initial.extend(self._make_job(arch) for arch in initial)
        self._patience = self._sampler.patience
        self._exhausted_space = False
        self._end_if_done()

    def awaits(self, job: Job) -> bool:
        """Return whether the outcome of a job is still needed."""
        return self._seen.get(job.identity) is None

    def take_job(self) -> Job | None:
        """Return the next job, never an arch twice; None if there is none yet or any more."""
        while True:
            self._end_if_done()
            if self.ended is not None or len(self.records) + len(self._open) >= self.trials:
                return None
            job = None if self._exhausted_space else self._propose()
            if job is None:
                # Once no arch is unseen, none ever will be: never ask again.
                self._exhausted_space = True
                if self._open:
                    return None
                self._end(self._describe_exhaustion())
            elif not self._reuse_metrics(job):
                return job

    def take_group(self, most: int) -> list[Job]:
        """Return up to `most` jobs, to evaluate in any order.

        The group ends with the initial archs, so that the sampler sees them before it is asked.
        """
        jobs: list[Job] = []
        while len(jobs) < most and (job := self.take_job()) is not None:
            jobs.append(job)
            if job.source in ("initial", "retry") and not self._initial:
                break
        return jobs

    def adopt(self, job: Job) -> None:
        """Register a job that was given out before the study's process restarted."""
        if job.identity not in self._seen:
            self._give_out(job)

    def finish(self, job: Job, outcome: Outcome, reused: bool = False) -> Record | None:
        """Store the outcome of a job and return its record; None if the arch has one already.

        Raises:
            InputError: The first evaluations lack a required metric, or all failed.
        """
        is_unknown = job.identity not in self._open
        if not self.awaits(job) or (is_unknown and len(self.records) >= self.trials):
            return None
        if outcome.error is None and not self._first_evaluations.succeeded:
            missing = self.problem.describe_missing(outcome.metrics)
            if missing is not None:  # perhaps by every evaluation, as none has succeeded yet
                raise InputError(missing)
        record = self.problem.make_record(job, outcome, len(self.records), reused)
        # After a restart of the study's process, outcomes may come from jobs unknown to it.
        _, trial = self._ask(job) if is_unknown else self._open.pop(job.identity)
        for name, excess in record.excess.items():
            trial.set_constraint(name, excess)
        frozen = self._proposals.finish(trial, record.values)
        self._attempts[job.identity] += 1
        frozen.user_attrs = make_attributes(record, job, self.seed, self._attempts[job.identity])
        self.records.append(record)
        self._seen[job.identity] = record
        self._first_evaluations.add(frozen, record, retried=job.source == "retry")
        self._end_if_done()
        return record

    def _propose(self) -> Job | None:
        """Propose an unseen arch: an initial one, the sampler's, or a uniform draw."""
        while self._initial:
            job = self._initial.popleft()
            if not self.problem.budget.inside(job.arch):
                self.counts.refused += 1
            elif job.identity not in self._seen:
                return self._give_out(job)
        for _ in range(self._patience):
            trial = self._proposals.ask()
            arch = self._genes.decode(trial.params)
            identity = self.problem.space.identity(arch)
            if identity in self._seen:
                self.counts.repeated += 1
                record = self._seen[identity]
                self._proposals.skip(trial, record)
            elif not self.problem.budget.inside(arch):
                self.counts.refused += 1
                self._proposals.skip(trial, None)
            else:
                self._patience = self._sampler.patience
                return self._give_out(Job(identity, arch, trial.params, "sampler"), trial)
            if self._proposals.needs_rebuild:
                self._proposals.rebuild()
                # The rebuilt study does not know the open jobs.
                self._open = {name: self._ask(job) for name, (job, _) in self._open.items()}
        drawn = self._feasible.draw(self._rng, self._seen)
        if drawn is None:
            return None
        self.counts.drawn += 1
        self._patience = min(MAX_AFTER_DRAW, self._sampler.patience)
        return self._give_out(self._make_job(drawn, "uniform"))

    def _make_job(self, arch: Arch, source: Source = "initial") -> Job:
        arch = self.problem.space.canonical(arch)
        genes = self._genes.encode(arch)
        return Job(self.problem.space.identity(arch), arch, genes, source)

    def _give_out(self, job: Job, trial: optuna.Trial | None = None) -> Job:
        self._open[job.identity] = (job, trial) if trial else self._ask(job)
        self._seen[job.identity] = None
        return job

    def _ask(self, job: Job) -> tuple[Job, optuna.Trial]:
        return job, self._proposals.ask(job.genes)

    def _end_if_done(self) -> None:
        if self.ended is None and len(self.records) >= self.trials:
            self._end(f"the {self.trials:,} evaluations that were asked for are finished")

    def _end(self, reason: str) -> None:
        self._first_evaluations.end(self.records)
        self.ended = reason

    def _reuse_metrics(self, job: Job) -> bool:
        """Finish a job with another search's metrics; return whether they sufficed."""
        metrics = self._reusable.get(job.identity)
        if metrics is None or self.problem.describe_missing(metrics) is not None:
            return False
        self.counts.reused += 1
        self.finish(job, Outcome(metrics), reused=True)
        return True

    def _describe_exhaustion(self) -> str:
        inside = "" if not self.problem.budget.limits else " inside the budget"
        if self._feasible.listed is not None:
            return f"every arch{inside} has been evaluated"
        return f"no arch{inside} was found that has not been evaluated"
