"""The latency tables that a config's search rests on."""

from __future__ import annotations

from search.config import Config
from search.folder import RunFolder
from search.front import Front
from search.latency.costs import NAME, read_tables
from search.latency.table import LatencyTable
from space.errors import InputError

FOLDER = "latency"


def latency_tables(config: Config, folder: RunFolder) -> tuple[LatencyTable, ...]:
    """The tables that are named, or those in the run's folder; none where no latency is asked for.

    Raises:
        InputError: there is none, or one is not right.
    """
    wanted = config.search
    budgets = [wanted.budget] if isinstance(wanted.budget, str) else wanted.budget or []
    asked = ",".join([*wanted.objectives, *budgets]).split(",")
    given = [text.partition("=")[0].strip() for text in asked]
    names = [name for name in given if name.partition("@")[0] == NAME]
    if not names:
        return ()
    own = folder.stage(FOLDER)
    tables = _found(config, folder)
    if not tables:
        raise InputError(
            f"search: {names[0]} rests on a latency table, and there is none in {own}; measure "
            "one with `tokennas profile CONFIG`, or name its file by --search.latency"
        )
    known = {table.name for table in tables}
    for name in names:
        device = name.partition("@")[2]
        if device and device not in known:
            raise InputError(
                f"search: {name}: no latency table is called {device!r}; these are: "
                f"{', '.join(sorted(known))}"
            )
    return tables


def tables_of(front: Front, config: Config, folder: RunFolder) -> tuple[LatencyTable, ...]:
    """The tables that a front's latencies come from, as far as they are still there.

    Raises:
        InputError: one is not right.
    """
    if not any(name.partition("@")[0] == NAME for name in front.full):
        return ()
    return _found(config, folder)


def _found(config: Config, folder: RunFolder) -> tuple[LatencyTable, ...]:
    own = sorted(folder.stage(FOLDER).glob("*.yaml"))
    return read_tables(config.search.latency or own)
