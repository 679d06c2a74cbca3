"""All that a run's folder has to tell, read once; what is missing is named, never an error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from search.folder import CONFIG, read_values, section
from search.report.choices import Choice, choices_of_front, read_retrained
from search.report.latencies import Latencies, find_tables, latencies
from search.report.logs import Row, read_log
from search.report.measures import Score, score_of, test_score
from search.report.outdated import Outdated, mark_outdated
from search.report.searches import SearchResult, find_searches, read_search
from search.report.volumes import comparable
from search.stored import as_word
from space.space import SearchSpace
from space.utils.errors import InputError, near


@dataclass(frozen=True)
class Contents:
    """A run, as far as it has come.

    Args:
        run: its folder.
        name: of the search.
        config: as it was resolved; empty where none was written.
        training: rows of the supernet's training.
        search: the search; None where there is none.
        randoms: random searches to compare it with.
        space: that was searched; None where nothing says.
        choices: of the final table.
        retrained: whether the choices are retrained networks, not points of the front.
        score: what networks are judged by.
        missing: what is left out, a sentence each.
        latencies: what latency tables say of the search's front.
    """

    run: Path
    name: str
    config: Mapping[str, Any] = field(default_factory=dict)
    training: tuple[Row, ...] = ()
    search: SearchResult | None = None
    randoms: tuple[SearchResult, ...] = ()
    space: SearchSpace | None = None
    choices: tuple[Choice, ...] = ()
    retrained: bool = False
    score: Score = field(default_factory=lambda: Score("top1"))
    missing: tuple[str, ...] = ()
    latencies: tuple[Latencies, ...] = ()

    @property
    def test(self) -> Score:
        """The score that test figures are of."""
        return test_score(self.score, self.choices)


def read_run(run: Path, name: str) -> Contents:
    """Read what lies in the folder of a run.

    Raises:
        InputError: there is nothing to report, or a file is not right, in one line that names it.
    """
    if not run.is_dir():
        raise InputError(f"{run}: there is no such folder; a run makes one: tokennas run CONFIG")
    log, missing = run / "supernet" / "log.jsonl", []
    training = read_log(log) if log.exists() else []
    if not training:
        missing.append(f"{log.relative_to(run)} is not there: no training curves.")
    search, randoms, left_out = _searches(run, name)
    choices, unfinished = read_retrained(run, name)
    retrained = bool(choices)
    config = read_values(run / CONFIG)
    score = score_of(search.front) if search else Score("top1")
    if search is not None:
        choices = mark_outdated(choices, search.front)
        own = config | read_values(run / "search" / name / CONFIG)
        missing += Outdated(run, search, choices, section(own, "retrain"), score).describe()
    _check_some(run, name, bool(training or search or choices))
    missing += left_out
    if not retrained:
        instead = "; the table shows points of the front" if search else ""
        missing.append(f"retrain/{name} has no retrained network{instead}.")
        choices = [] if search is None else choices_of_front(run, name, search.front)
    missing += [f"retrain/{name}/{each}" for each in unfinished]
    if not config:
        missing.append("config.yaml is not there: what was run is known only in part.")
    tables, lost = find_tables(run, config)
    missing += lost
    searched = (search.front, search.limits, search.tables) if search else ()
    found_latencies = [each for table in tables if (each := latencies(table, *searched))]
    return Contents(
        run,
        name,
        config,
        tuple(training),
        search,
        tuple(randoms),
        _space(run, config, search, choices),
        tuple(choices),
        retrained,
        score,
        tuple(missing),
        tuple(found_latencies),
    )


def _searches(run: Path, name: str) -> tuple[SearchResult | None, list[SearchResult], list[str]]:
    """The search, random ones beside it, and what is missing of them."""
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
    others = [read_search(folder / each) for each in names if each != name]
    randoms = comparable(search, others)
    if not randoms:
        missing.append(
            "No search by RandomSampler with the same objectives and budget, to compare how fast "
            f"they get there; this makes one: {_random_search(run, name)}"
        )
    return search, randoms, missing


def _random_search(run: Path, name: str) -> str:
    """The command that makes a random search with the same objectives and budget."""
    plain, own = (
        section(read_values(place / CONFIG), "search") for place in (run, run / "search" / name)
    )
    command = f"tokennas search {as_word(str(run / CONFIG))} --search.name random"
    options = [
        f" --search.{key} {as_word(own[key])}"
        for key in ("objectives", "budget", "trials", "seed", "latency", "time_limit")
        if key in own and own[key] != plain.get(key)
    ]
    if plain.get("sampler_args"):
        options.append(" --search.sampler_args '{}'")
    return f"{command} --search.sampler RandomSampler{''.join(options)}"


def _check_some(run: Path, name: str, found: bool) -> None:
    if found:
        return
    others = {path.name for stage in ("search", "retrain") for path in (run / stage).glob("*/")}
    if others:
        listed = sorted(others)
        hint = near(name, listed) or f"; there are {', '.join(listed)}"
        raise InputError(f"{run}: has no search or retraining called {name!r}{hint}")
    raise InputError(
        f"{run}: nothing to report yet: no supernet/log.jsonl, no search/{name}, no retrain/{name}"
    )


def _space(
    run: Path, config: Mapping[str, Any], search: SearchResult | None, choices: list[Choice]
) -> SearchSpace | None:
    if search is not None and search.space is not None:
        return search.space
    shapes = [search.front.shape] if search else [each.shape for each in choices]
    if not shapes or not isinstance(config.get("space"), dict):
        return None
    try:
        return SearchSpace.from_dict(config["space"], shapes[0])
    except InputError as error:
        raise InputError(f"{run / 'config.yaml'}: {error}") from None
