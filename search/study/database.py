"""Trials in a database: one writer for a study there too; a server that is away is waited for."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import optuna
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial
from sqlalchemy import create_engine, event
from sqlalchemy.engine import ExceptionContext

from search.study.database_url import check_url, without_password
from search.study.proposals import quiet
from space.utils.errors import InputError, one_line

# Longer than a restart of a server, and than the recovery after a crash of one.
AWAY_SECONDS = 60.0
LONGEST_WAIT = 2.0
# A server notices within milliseconds that the process which held a lock is dead.
HANDOVER_SECONDS = 2.0
# Else a server holds a lock for two hours after the power of its owner's machine went.
KEEPALIVES = {"idle": 30, "interval": 10, "count": 3}


class ConnectionLostError(Exception):
    """The connection to the database is lost, and with it perhaps the answer to a commit."""


def open_database(url: str, study: str, driver: int | None) -> RDBStorage:
    """A database to write one study to; PostgreSQL locks it until the engine is disposed.

    Args:
        url: as SQLAlchemy takes it.
        study: its name.
        driver: process that is named to others; None for this one.

    Raises:
        InputError: another search writes the study, or it is no URL of a database that is known.
    """
    check_url(url)
    with quiet():
        storage = RDBStorage(url)
        if url.startswith("postgresql"):
            # Optuna needs two connections at a time to make and check tables, and one from then on.
            storage.engine.dispose()
            lock = _StudyLock(study, os.getpid() if driver is None else driver)
            storage = RDBStorage(
                url,
                # What writes is what holds the lock: one connection, and a new one takes it anew.
                {"pool_size": 1, "max_overflow": 0, "pool_events": [(lock, "connect")]},
                skip_compatibility_check=True,
                skip_table_creation=True,
            )
    event.listen(storage.engine, "handle_error", _tell_lost)
    return storage


def check_driver(url: str) -> None:
    """Import what a URL needs, without going there.

    Raises:
        InputError: it is not installed, or the URL is not right.
    """
    with opening(f"storage {without_password(url)}"):
        create_engine(url).dispose()


def reach(url: str) -> None:
    """Connect to a database, and leave it.

    Raises:
        InputError: it is no URL of a database that is known.
    """
    check_url(url)
    engine = create_engine(url)
    try:
        engine.connect().close()
    finally:
        engine.dispose()


def add_trial(study: optuna.Study, trial: FrozenTrial, place: str) -> None:
    """Store a trial once, however often the connection is lost meanwhile.

    Raises:
        InputError: the database stays away.
    """
    began, wait, again = time.monotonic(), 0.0, False
    while True:
        try:
            if not (again and _stored(study, trial)):
                study.add_trial(trial)
        except ConnectionLostError as error:
            if time.monotonic() - began + wait > AWAY_SECONDS:
                reason = one_line(error.__cause__ or error)
                raise InputError(
                    f"{place}: away for {AWAY_SECONDS:.0f} seconds ({reason}); once it is back, "
                    "the same command goes on from what is stored"
                ) from None
            time.sleep(wait)
            wait, again = min(2 * wait + 0.1, LONGEST_WAIT), True
        else:
            return


@contextmanager
def opening(place: str) -> Iterator[None]:
    """Tell in one line why a storage cannot be opened."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{place}: {one_line(error.__cause__ or error)}") from None


class _StudyLock:
    """Locks a study for each new connection to PostgreSQL, which frees it when that ends."""

    def __init__(self, study: str, driver: int) -> None:
        self._study = study
        self._owner = f"process {driver} on {socket.gethostname()}"

    def __call__(self, connection: Any, _: object) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('application_name', %s, false)", [self._owner])
            for name, value in KEEPALIVES.items():
                setting = f"tcp_keepalives_{name}"
                cursor.execute("SELECT set_config(%s, %s, false)", [setting, str(value)])
            ends = time.monotonic() + HANDOVER_SECONDS
            while not self._taken(cursor):
                if time.monotonic() > ends:
                    owner = self._other(cursor)
                    connection.close()
                    raise InputError(
                        f"study {self._study}: another command writes to it in this database"
                        f"{owner}; in a copied folder, search under another name (--search.name)"
                    )
                time.sleep(0.1)
        connection.commit()

    def _taken(self, cursor: Any) -> bool:
        cursor.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", [self._study])
        return bool(cursor.fetchone()[0])

    def _other(self, cursor: Any) -> str:
        cursor.execute(
            "SELECT application_name FROM pg_stat_activity JOIN pg_locks USING (pid) "
            "WHERE locktype = 'advisory' AND granted AND objsubid = 1 "
            "AND (classid::bigint << 32) + objid::bigint = hashtextextended(%s, 0)",
            [self._study],
        )
        row = cursor.fetchone()
        return f" ({row[0]})" if row and row[0] else ""


def _tell_lost(context: ExceptionContext) -> None:
    """Raise what Optuna lets pass: it would store twice where only the answer was lost."""
    if context.is_disconnect or context.connection is None:
        raise ConnectionLostError(str(context.original_exception))


def _stored(study: optuna.Study, trial: FrozenTrial) -> bool:
    """Whether that attempt at an arch is there; only what is new since the last look is read."""
    wanted = [trial.user_attrs.get(name) for name in ("identity", "attempt")]
    return any(
        [each.user_attrs.get(name) for name in ("identity", "attempt")] == wanted
        for each in study.get_trials(deepcopy=False)
    )
