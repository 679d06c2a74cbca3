"""The results in a run's folder, read once; missing ones are listed instead of raised."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search.pipeline.run_folder import CONFIG, read_values
from search.report.latency_data import LatencyData, collect_latency_data, find_latency_tables
from search.report.networks import Network, pick_from_front, read_budgets, read_retrained
from search.report.retrain_advice import advise_retraining, mark_outdated
from search.report.search_result import (
    RANDOM,
    Score,
    SearchResult,
    choose_score,
    describe_losses,
    find_searches,
    read_search,
    task_pictures,
    task_scores,
)
from search.report.training_log import Row, read_log
from space.utils.errors import InputError, near


@dataclass(frozen=True)
class RunResults:
    """Results of a run so far.

    Args:
        run: Folder of the run.
        name: Name of the search.
        config: The stored config; empty where there is none.
        training: Log of the supernet's training, a row for each epoch.
        search: The search; None where there is none.
        randoms: Comparable random searches.
        networks: The retrained networks, or else some of the front.
        score: The metric that ranks networks on the search split.
        latencies: Data of the latency tables.
        missing: A sentence on each part that is missing, unfinished or outdated.
    """

    run: Path
    name: str
    config: Mapping[str, Any]
    training: Sequence[Row]
    search: SearchResult | None
    randoms: Sequence[SearchResult]
    networks: Sequence[Network]
    score: Score
    latencies: Sequence[LatencyData]
    missing: Sequence[str]

    @property
    def title(self) -> str:
        return self.run.resolve().name

    @property
    def test_scores(self) -> list[Score]:
        """The task's metrics for tables of the test split, the primary one first."""
        return task_scores(self.config)

    @property
    def losses(self) -> tuple[str, str]:
        """What the largest arch of the supernet learns from, and what the others do."""
        return describe_losses(self.config)

    @property
    def pictures(self) -> str:
        """Caption of the task's predictions."""
        return task_pictures(self.config)

    @property
    def test_score(self) -> Score:
        """The task's first metric, on the test split, whichever metric ranked archs."""
        return self.test_scores[0]


def read_run(run: Path, name: str) -> RunResults:
    """Read the results in a run's folder, those of the search `name`.

    Raises:
        InputError: There is nothing to report, or a file is invalid.
    """
    if not run.is_dir():
        raise InputError(f"{run}: there is no such folder; make it by tokennas run CONFIG")
    training = read_log(run / "supernet" / "log.jsonl")
    search, randoms, missing = _read_searches(run, name)
    networks, unfinished = read_retrained(run, name)
    if not (training or search or networks):
        names = [path.name for stage in ("search", "retrain") for path in (run / stage).glob("*/")]
        raise InputError(
            f"{run}: nothing to report yet: no supernet/log.jsonl, no search/{name}, "
            f"no retrain/{name}{near(name, names)}"
        )
    searches = find_searches(run / "search")
    if searches and not (search or networks or unfinished):
        raise InputError(
            f"{run}: there is no search {name!r}; name one of these by --search.name: "
            f"{', '.join(searches)}{near(name, searches)}"
        )
    config = read_values(run / CONFIG)
    is_known = bool(config)
    if not is_known:  # networks with a head of their own say what they were trained for
        stored = next((each.task for each in networks if each.task), None)
        config = {} if stored is None else {"task": stored}
    score = choose_score(search.front) if search else task_scores(config)[0]
    if not is_known:
        missing.append("config.yaml is missing: the run is known only in part.")
    if not training:
        missing.append("supernet/log.jsonl is missing: no training curves.")
    if search is not None:
        networks = mark_outdated(networks, search.front)
        search_config = config | read_values(run / "search" / name / CONFIG)
        budgets = read_budgets(search_config)
        missing += advise_retraining(run, search, networks, budgets, score)
    if not networks:
        instead = "; the table shows points of the front" if search else ""
        missing.append(f"retrain/{name} has no retrained network{instead}.")
        networks = [] if search is None else pick_from_front(run, name, search.front)
    missing += [f"retrain/{name}/{each}" for each in unfinished]
    latencies = [collect_latency_data(table, search) for table in find_latency_tables(run, config)]
    return RunResults(
        run=run,
        name=name,
        config=config,
        training=training,
        search=search,
        randoms=randoms,
        networks=networks,
        score=score,
        latencies=[each for each in latencies if each],
        missing=missing,
    )


def _read_searches(
    run: Path, name: str
) -> tuple[SearchResult | None, list[SearchResult], list[str]]:
    """Read the search and comparable random ones, and list what is missing of them."""
    folder = run / "search"
    names = find_searches(folder)
    if name not in names:
        return None, [], [f"search/{name} is missing: no front, no hypervolume."]
    search = read_search(folder / name)
    missing = []
    if not search.ended:
        missing.append(f"search/{name} has not ended: the front is the one so far.")
    if not search.records and search.front.evaluations:
        missing.append(
            f"search/{name} has no journal here (it is in a database, or was removed): only the "
            "front is shown, not all evaluations."
        )
    randoms = search.find_random(read_search(folder / each) for each in names if each != name)
    if not randoms and search.records and search.sampler != RANDOM:
        missing.append(
            "No search by RandomSampler with the same objectives and budget, to compare the "
            "hypervolume with; `tokennas search CONFIG --search.name random --search.sampler "
            "RandomSampler` makes one."
        )
    return search, randoms, missing
