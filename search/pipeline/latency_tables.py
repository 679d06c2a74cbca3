"""The latency tables of a config's search."""

from __future__ import annotations

from search.latency.costs import by_cost, read_tables
from search.latency.table import LatencyTable
from search.pipeline.config import Config
from search.pipeline.run_folder import RunFolder
from search.problem.latency_names import is_latency
from search.study.search_file import SEARCH_FILE, SearchFile
from space.utils.errors import InputError

FOLDER = "latency"


def latency_tables(folder: RunFolder) -> tuple[LatencyTable, ...]:
    """Return the tables of the latencies that budgets and objectives name, if any.

    They are the files that the config names, or else those of the run's folder. A search that has
    begun keeps its tables.

    Raises:
        InputError: A table is missing, invalid or ambiguous.
    """
    names = _asked(folder.config)
    if not names:
        return ()
    tables = {table.name: table for table in _there(folder)}
    if not tables:
        raise InputError(
            f"search: {names[0]} rests on a latency table, and there is none in "
            f"{folder.stage(FOLDER)}; measure one with `tokennas profile CONFIG`, or name its file "
            "by --search.latency"
        )
    used = tables_by_cost(folder)
    chosen = {}
    for name in names:
        device = name.partition("@")[2]
        if not device and len(tables) == 1:
            device = next(iter(tables))
        table = tables.get(device) or used.get(name)
        if table is None:
            known = ", ".join(sorted(tables))
            raise InputError(
                f"search: {name}: there are latency tables of {known}; say which, as in "
                f"latency_ms@{min(tables)}, or name one file by --search.latency"
            )
        chosen[table.name] = table
    return tuple(chosen.values())


def tables_by_cost(folder: RunFolder) -> dict[str, LatencyTable]:
    """Return the tables that a search has used, by name of the cost, as far as they still exist.

    Raises:
        InputError: A table is invalid.
    """
    place = folder.search
    digests = SearchFile.load(place).latency if (place / SEARCH_FILE).exists() else {}
    return by_cost(_there(folder), digests) if digests else {}


def _asked(config: Config) -> list[str]:
    """Return the latencies that budgets and objectives name."""
    wanted = config.search
    budgets = [wanted.budget] if isinstance(wanted.budget, str) else wanted.budget or []
    texts = ",".join([*wanted.objectives, *budgets]).split(",")
    names = dict.fromkeys(text.partition("=")[0].strip() for text in texts)
    return list(filter(is_latency, names))


def _there(folder: RunFolder) -> tuple[LatencyTable, ...]:
    own = sorted(folder.stage(FOLDER).glob("*.yaml"))
    return read_tables(folder.config.search.latency or own)
