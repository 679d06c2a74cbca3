"""The results in a run's folder, read once; missing ones are listed instead of raised."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from search.pipeline.config import Config
from search.pipeline.run_folder import CONFIG, RunFolder, read_values, section
from search.report.latency_data import LatencyData, collect_latency_data, find_latency_tables
from search.report.networks import Network, pick_from_front, read_retrained
from search.report.retrain_advice import RetrainAdvice, mark_outdated
from search.report.score import Score, choose_score, task_score
from search.report.search_result import SearchResult, find_searches, read_search
from search.report.training_log import Row, read_log
from search.utils.plain_values import as_word
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
        retrained: Whether the networks are retrained.
        score: The metric that networks are judged by.
        latencies: Data of the latency tables.
        missing: A sentence on each missing part.
    """

    run: Path
    name: str
    config: Mapping[str, Any] = field(default_factory=dict)
    training: Sequence[Row] = ()
    search: SearchResult | None = None
    randoms: Sequence[SearchResult] = ()
    networks: Sequence[Network] = ()
    retrained: bool = False
    score: Score = field(default_factory=partial(task_score, {}))
    latencies: Sequence[LatencyData] = ()
    missing: Sequence[str] = ()

    @property
    def title(self) -> str:
        return self.run.resolve().name

    @property
    def test_score(self) -> Score:
        """The task's first metric where it was tested: people read it, whatever ranked archs."""
        tested = {key for each in self.networks for key in (*each.inherited, *each.retrained)}
        usual = task_score(self.config)
        return usual if usual.name in tested and not self.score.is_percent else self.score

    @property
    def search_images(self) -> int | None:
        """Number of images of the search split; None where unknown."""
        if self.search is not None and self.search.front.images is not None:
            return self.search.front.images
        try:
            return len(RunFolder(Config(run=str(self.run)), None).split() or ()) or None
        except InputError:
            return None

    @property
    def test_images(self) -> int | None:
        """Number of images of the test split; None where unknown."""
        return next((each.test_images for each in self.networks if each.test_images), None)


def read_run(run: Path, name: str) -> RunResults:
    """Read the results in a run's folder, those of the search `name`.

    Raises:
        InputError: There is nothing to report, or a file is invalid.
    """
    if not run.is_dir():
        raise InputError(f"{run}: there is no such folder; a run makes one: tokennas run CONFIG")
    log, missing = run / "supernet" / "log.jsonl", []
    training = read_log(log) if log.exists() else []
    if not training:
        missing.append(f"{log.relative_to(run)} is not there: no training curves.")
    search, randoms, left_out = _read_searches(run, name)
    networks, unfinished = read_retrained(run, name)
    retrained = bool(networks)
    config = read_values(run / CONFIG)
    usual = task_score(config)
    score = choose_score(search.front, usual) if search else usual
    if search is not None:
        networks = mark_outdated(networks, search.front)
        own = config | read_values(run / "search" / name / CONFIG)
        missing += RetrainAdvice(run, search, networks, section(own, "retrain"), score).lines()
    if not (training or search or networks):
        raise _nothing_to_report(run, name)
    missing += left_out
    if not retrained:
        instead = "; the table shows points of the front" if search else ""
        missing.append(f"retrain/{name} has no retrained network{instead}.")
        networks = [] if search is None else pick_from_front(run, name, search.front)
    missing += [f"retrain/{name}/{each}" for each in unfinished]
    if not config:
        missing.append("config.yaml is not there: what was run is known only in part.")
    tables, no_tables = find_latency_tables(run, config)
    latencies = [collect_latency_data(table, search) for table in tables]
    return RunResults(
        run,
        name,
        config,
        training,
        search,
        randoms,
        networks,
        retrained,
        score,
        [each for each in latencies if each],
        missing + no_tables,
    )


def _read_searches(
    run: Path, name: str
) -> tuple[SearchResult | None, list[SearchResult], list[str]]:
    """Read the search and comparable random ones, and list what is missing of them."""
    folder = run / "search"
    names = find_searches(folder)
    if name not in names:
        return None, [], [f"search/{name} is not there: no front, no hypervolume."]
    search = read_search(folder / name)
    missing = []
    if not search.ended:
        missing.append(f"search/{name} has not ended: the front is what it has found so far.")
    if not search.records and search.front.evaluations:
        missing.append(
            f"search/{name} keeps no journal here (a database does, or it was removed): only the "
            "front is shown, not all that was evaluated."
        )
    randoms = search.find_random(read_search(folder / each) for each in names if each != name)
    if not randoms:
        missing.append(
            "No search by RandomSampler with the same objectives and budget, to compare how fast "
            f"they get there; this makes one: {_random_search_command(run, name)}"
        )
    return search, randoms, missing


def _random_search_command(run: Path, name: str) -> str:
    """Format the command of a random search with the same objectives and budget."""
    of_run, own = (
        section(read_values(folder / CONFIG), "search") for folder in (run, run / "search" / name)
    )
    options = [
        f" --search.{key} {as_word(own[key])}"
        for key in ("objectives", "budget", "trials", "seed", "latency", "time_limit")
        if key in own and own[key] != of_run.get(key)
    ]
    if of_run.get("sampler_args"):
        options.append(" --search.sampler_args '{}'")
    command = f"tokennas search {as_word(str(run / CONFIG))} --search.name random"
    return f"{command} --search.sampler RandomSampler{''.join(options)}"


def _nothing_to_report(run: Path, name: str) -> InputError:
    others = {path.name for stage in ("search", "retrain") for path in (run / stage).glob("*/")}
    if others:
        hint = near(name, sorted(others)) or f"; there are {', '.join(sorted(others))}"
        return InputError(f"{run}: has no search or retraining called {name!r}{hint}")
    return InputError(
        f"{run}: nothing to report yet: no supernet/log.jsonl, no search/{name}, no retrain/{name}"
    )
