"""Trials in a database: one writer per study, which waits for a server that is away."""

from __future__ import annotations

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

from search.study.options import without_password
from search.study.samplers import quiet
from space.utils.errors import InputError, one_line

# Longer than a server's restart, or its recovery after a crash.
AWAY_SECONDS = 60.0
LONGEST_WAIT = 2.0
# A server notices within milliseconds that the process holding a lock is dead.
HANDOVER_SECONDS = 2.0
# Without keepalives a server holds a lock for two hours after its owner's machine lost power.
KEEPALIVES = {
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
}


class ConnectionLostError(Exception):
    """The connection to the database is lost, and perhaps the answer to a commit."""


def open_database(url: str, study: str, driver: int) -> RDBStorage:
    """Open a database to write one study to; PostgreSQL locks it until the engine is disposed.

    Args:
        url: URL as SQLAlchemy takes it.
        study: Name of the study.
        driver: PID named as the owner of the lock.

    Raises:
        InputError: Another search writes the study.
    """
    with quiet():
        storage = RDBStorage(url)
        if url.startswith("postgresql"):
            # Optuna needs two connections to create and check tables, and one from then on.
            storage.engine.dispose()
            lock = _StudyLock(study, driver)
            storage = RDBStorage(
                url,
                # One connection, which writes and holds the lock; a new one takes the lock again.
                {"pool_size": 1, "max_overflow": 0, "pool_events": [(lock, "connect")]},
                skip_compatibility_check=True,
                skip_table_creation=True,
            )
    event.listen(storage.engine, "handle_error", _tell_lost)
    return storage


def check_driver(url: str) -> None:
    """Import the driver that a URL needs, without connecting.

    Raises:
        InputError: The driver is not installed, or the URL is invalid.
    """
    with opening(f"storage {without_password(url)}"):
        create_engine(url).dispose()


def add_trial(study: optuna.Study, trial: FrozenTrial, place: str) -> None:
    """Store a trial exactly once, however often the connection is lost.

    Raises:
        InputError: The database stays away.
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
    """Raise errors of opening a storage as an `InputError` in one line."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        reason = one_line(error.__cause__ or error, typed=True)
        raise InputError(f"{place}: cannot be opened: {reason}") from None


class _StudyLock:
    """Takes a study's advisory lock on each new PostgreSQL connection, whose end frees the lock."""

    def __init__(self, study: str, driver: int) -> None:
        self._study = study
        self._owner = f"process {driver} on {socket.gethostname()}"

    def __call__(self, connection: Any, _: object) -> None:
        with connection.cursor() as cursor:
            for setting, value in {"application_name": self._owner, **KEEPALIVES}.items():
                cursor.execute("SELECT set_config(%s, %s, false)", [setting, value])
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
    """Raise a lost connection, which Optuna ignores: a retry might store a trial twice."""
    if context.is_disconnect or context.connection is None:
        raise ConnectionLostError(str(context.original_exception))


def _stored(study: optuna.Study, trial: FrozenTrial) -> bool:
    """Return whether this attempt at the arch is stored; reads only trials since the last call."""
    wanted = [trial.user_attrs.get(name) for name in ("identity", "attempt")]
    return any(
        [each.user_attrs.get(name) for name in ("identity", "attempt")] == wanted
        for each in study.get_trials(deepcopy=False)
    )
