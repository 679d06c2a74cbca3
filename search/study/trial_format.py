"""Conversion of finished evaluations to Optuna trials and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from search.problem.evaluation import Job, Record
from search.problem.paired_error import GroupedMetrics, read_groups
from search.problem.problem import Problem
from space.arch_file import block_to_dict
from space.genes import Genes
from space.utils.errors import InputError, naming, shown


def make_attributes(record: Record, job: Job, seed: int, attempt: int) -> dict[str, Any]:
    """Make the user attributes of a stored trial.

    Args:
        record, job: The finished evaluation and its job.
        seed: Seed of the search.
        attempt: Number of evaluations of the arch so far, this one included.
    """
    attrs: dict[str, Any] = {
        "identity": record.identity,
        "arch": [block_to_dict(block) for block in record.arch.blocks],
        "metrics": dict(record.metrics),
        "seconds": round(record.seconds, 6),
        "source": job.source,
        "seed": seed,
        "attempt": attempt,
    }
    if record.error is not None:
        attrs["error"] = record.error
    if record.reused:
        attrs["reused"] = True
    if record.groups:
        attrs["groups"] = {
            name: [images, list(means)] for name, (images, means) in record.groups.items()
        }
    return attrs


def is_estimate(trial: FrozenTrial) -> bool:
    """Return whether a trial's metrics are estimates, which earlier versions stored."""
    attrs = trial.user_attrs if isinstance(trial.user_attrs, Mapping) else {}
    metrics = attrs.get("metrics")
    return isinstance(metrics, Mapping) and "racing.seen" in metrics


def read_records(trials: Iterable[FrozenTrial], problem: Problem) -> list[Record]:
    """Return the records of stored trials, one for each arch, in the order of finishing.

    A failed arch may have been retried: its last attempt counts. A database may hold a trial twice
    if the connection broke during its commit.

    Raises:
        InputError: A trial does not fit the space, or was not written by a search.
    """
    genes = Genes(problem.space)
    records: dict[str, Record] = {}
    for trial in trials:
        with naming(f"stored trial {trial.number}"):
            record = _read_record(trial, problem, genes)
        if record.identity not in records or records[record.identity].error is not None:
            records.pop(record.identity, None)
            records[record.identity] = record
    return number_records(records.values())


def number_records(records: Iterable[Record]) -> list[Record]:
    """Number records by their order."""
    return [replace(record, number=number) for number, record in enumerate(records)]


def read_metrics(trials: Iterable[FrozenTrial]) -> dict[str, GroupedMetrics]:
    """Return the metrics of the successful evaluations, by identity."""
    by_identity: dict[str, GroupedMetrics] = {}
    for trial in trials:
        with naming(f"stored trial {trial.number}"):
            _check_trial(trial)
            attrs = trial.user_attrs
            if trial.state == TrialState.COMPLETE:
                metrics = GroupedMetrics(_read_metrics(attrs), read_groups(attrs.get("groups")))
                by_identity[str(attrs.get("identity"))] = metrics
    return by_identity


def _check_trial(trial: FrozenTrial) -> None:
    """Refuse trials that no search has stored: Optuna replays any valid journal."""
    parts = (trial.user_attrs, trial.system_attrs, trial.params)
    if all(isinstance(part, Mapping) for part in parts):
        values = trial.values if isinstance(trial.values, list) else [trial.values or 0.0]
        if all(map(_is_number, (*values, *trial.constraints.values()))):
            return
    raise InputError("was not written by a search")


def _is_number(value: object) -> bool:
    return isinstance(value, float) or (isinstance(value, int) and abs(value) < 1 << 62)


def _read_record(trial: FrozenTrial, problem: Problem, genes: Genes) -> Record:
    _check_trial(trial)
    attrs = trial.user_attrs
    with naming("does not fit the space"):
        arch = genes.decode(trial.params)
    identity, stored = problem.space.identity(arch), attrs.get("identity")
    if stored != identity:
        raise InputError(f"is of arch {shown(stored)} where its genes give {identity}")
    seconds, objectives = attrs.get("seconds", 0.0), len(problem.objectives)
    values = trial.values if trial.state == TrialState.COMPLETE else None
    if values is not None and len(values) != objectives:
        raise InputError(f"has {len(values)} values for {objectives} objectives")
    return Record(
        trial.number,
        identity,
        arch,
        _read_metrics(attrs),
        None if values is None else tuple(values),
        dict(trial.constraints),
        float(seconds) if isinstance(seconds, int | float) else 0.0,
        str(attrs.get("error", "failed")) if values is None else None,
        attrs.get("reused") is True,
        read_groups(attrs.get("groups")),
    )


def _read_metrics(attrs: Mapping[str, Any]) -> dict[str, float]:
    metrics = attrs.get("metrics", {})
    if not isinstance(metrics, Mapping) or not all(map(_is_number, metrics.values())):
        raise InputError("metrics must be numbers by name")
    return {str(name): float(value) for name, value in metrics.items()}
