"""Trials in a database: one writer per study, which waits for an unreachable server."""

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
from search.study.samplers import silence_optuna
from space.utils.errors import InputError, one_line

# Longer than a server's restart, or its recovery after a crash.
MAX_OUTAGE_SECONDS = 60.0
MAX_WAIT_SECONDS = 2.0
# A server notices within milliseconds that the process holding a lock is dead.
HANDOVER_SECONDS = 2.0
# Without keepalives a server holds a lock for two hours after its owner's machine lost power.
KEEPALIVES = {
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
}


class ConnectionLostError(Exception):
    """The connection to the database is lost, perhaps before a commit was confirmed."""


def open_database(url: str, study_name: str, owner: int) -> RDBStorage:
    """Open a database to write one study to.

    On PostgreSQL the study is locked until the engine is disposed.

    Args:
        url: URL of the database, in SQLAlchemy's format.
        study_name: Name of the study.
        owner: PID of the command that owns the lock, for messages.

    Raises:
        InputError: Another command writes to the study.
    """
    with silence_optuna():
        storage = RDBStorage(url)
        if url.startswith("postgresql"):
            # Optuna needs two connections to create and check tables, and one from then on.
            storage.engine.dispose()
            lock = _StudyLock(study_name, owner)
            storage = RDBStorage(
                url,
                # One connection, which writes and holds the lock; a new one takes the lock again.
                {"pool_size": 1, "max_overflow": 0, "pool_events": [(lock, "connect")]},
                skip_compatibility_check=True,
                skip_table_creation=True,
            )
    event.listen(storage.engine, "handle_error", _raise_connection_lost)
    return storage


def check_driver(url: str) -> None:
    """Import the driver that a URL needs, without connecting.

    Raises:
        InputError: The driver is not installed, or the URL is invalid.
    """
    with convert_open_errors(f"storage {without_password(url)}"):
        create_engine(url).dispose()


def add_trial(study: optuna.Study, trial: FrozenTrial, place: str) -> None:
    """Store a trial exactly once, retrying while the connection is lost.

    Args:
        study: The study.
        trial: The trial.
        place: Name of the storage, for messages.

    Raises:
        InputError: The database stays unreachable.
    """
    started, wait, is_retry = time.monotonic(), 0.0, False
    while True:
        try:
            if not (is_retry and _is_stored(study, trial)):
                study.add_trial(trial)
            return
        except ConnectionLostError as error:
            if time.monotonic() - started + wait > MAX_OUTAGE_SECONDS:
                reason = one_line(error.__cause__ or error)
                raise InputError(
                    f"{place}: unreachable for {MAX_OUTAGE_SECONDS:.0f} seconds ({reason}); once "
                    "it is back, the same command resumes from what is stored"
                ) from None
            time.sleep(wait)
            wait, is_retry = min(2 * wait + 0.1, MAX_WAIT_SECONDS), True


@contextmanager
def convert_open_errors(place: str) -> Iterator[None]:
    """Convert errors of opening a storage to an `InputError` of one line."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        reason = one_line(error.__cause__ or error, typed=True)
        raise InputError(f"{place}: cannot be opened: {reason}") from None


class _StudyLock:
    """A study's advisory lock, taken on each PostgreSQL connection and released at its end."""

    def __init__(self, study_name: str, owner: int) -> None:
        self._study = study_name
        self._owner = f"process {owner} on {socket.gethostname()}"

    def __call__(self, connection: Any, _: object) -> None:
        with connection.cursor() as cursor:
            for setting, value in {"application_name": self._owner, **KEEPALIVES}.items():
                cursor.execute("SELECT set_config(%s, %s, false)", [setting, value])
            deadline = time.monotonic() + HANDOVER_SECONDS
            while not self._try_lock(cursor):
                if time.monotonic() > deadline:
                    owner = self._describe_owner(cursor)
                    connection.close()
                    raise InputError(
                        f"study {self._study}: another command writes to it in this database"
                        f"{owner}; in a copied folder, search under another name (--search.name)"
                    )
                time.sleep(0.1)
        connection.commit()

    def _try_lock(self, cursor: Any) -> bool:
        cursor.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", [self._study])
        return bool(cursor.fetchone()[0])

    def _describe_owner(self, cursor: Any) -> str:
        cursor.execute(
            "SELECT application_name FROM pg_stat_activity JOIN pg_locks USING (pid) "
            "WHERE locktype = 'advisory' AND granted AND objsubid = 1 "
            "AND (classid::bigint << 32) + objid::bigint = hashtextextended(%s, 0)",
            [self._study],
        )
        row = cursor.fetchone()
        return f" ({row[0]})" if row and row[0] else ""


def _raise_connection_lost(context: ExceptionContext) -> None:
    """Raise an error of ours for a lost connection, before Optuna retries by itself.

    Its retry may store a trial twice. Without a `connection`, connecting itself has failed.
    """
    if context.is_disconnect or context.connection is None:
        raise ConnectionLostError(str(context.original_exception))


def _is_stored(study: optuna.Study, trial: FrozenTrial) -> bool:
    """Return whether this attempt at the arch is stored; Optuna fetches only trials new to it."""
    attempt = [trial.user_attrs.get(name) for name in ("identity", "attempt")]
    return any(
        [each.user_attrs.get(name) for name in ("identity", "attempt")] == attempt
        for each in study.get_trials(deepcopy=False)
    )
