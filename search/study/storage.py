"""Durable storage of a search: one Optuna trial for each finished evaluation.

In Optuna's own formats, which optuna-dashboard opens: a journal file in the search's folder, or a
database of those in `search.study.options`. Only one process at a time writes to it.
"""

from __future__ import annotations

import secrets
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from search.study.database import add_trial, convert_open_errors, open_database
from search.study.journal import open_for_reading, open_for_writing, repair
from search.study.options import without_password
from search.study.samplers import silence_optuna
from search.study.search import Search
from search.study.search_file import (
    SEARCH_FILE,
    SearchFile,
    read_description,
    update_description,
)
from search.study.trial_format import is_estimate
from search.utils.file_lock import FolderLock
from space.utils.atomic import file_errors, make_folder
from space.utils.errors import InputError, one_line
from space.utils.signals import defer_signals

JOURNAL = "journal.log"
IN_JOURNAL = "journal"  # the storage of a search that is in no database
STORED_STATES = (TrialState.COMPLETE, TrialState.FAIL)  # a search prunes no trials


class Store:
    """The durable storage of a search's finished trials, on disk or in a database.

    Args:
        folder: Folder of the search, created if missing.
        search: The search.

    Attributes:
        trials: Trials stored before opening, in the order of finishing.
        notes: Repairs on opening, one line each.

    Raises:
        InputError: The folder is in use or of another search, or the storage cannot be opened.
    """

    def __init__(self, folder: Path, search: Search) -> None:
        journal, url = folder / JOURNAL, search.options.storage
        storage = IN_JOURNAL if url is None else without_password(url)
        self._place = str(journal) if url is None else f"storage {storage}"
        self._in_database = url is not None
        self.notes: list[str] = []
        make_folder(folder)
        with ExitStack() as stack, convert_open_errors(self._place):
            stack.enter_context(FolderLock(folder, search.driver))
            has_journal = journal.exists() and journal.stat().st_size > 0
            old = read_description(folder, storage, has_journal)
            name = old.study if old else f"{folder.resolve().name}-{secrets.token_hex(4)}"
            new = replace(SearchFile.of(search), storage=storage, study=name)
            if url is None:
                with file_errors(journal):
                    note = repair(journal)
                    self.notes += [note] if note else []
                    self._read(open_for_reading(journal), name)
                    update_description(folder, old, new, has_results=not self._is_empty)
                    # Optuna would wrap an interrupt that is raised while it holds its lock.
                    with defer_signals():
                        self._study = self._open_study(open_for_writing(journal), name, search)
            else:
                database = open_database(url, name, search.driver)
                stack.callback(database.engine.dispose)
                self._read(database, name)
                update_description(folder, old, new, has_results=not self._is_empty)
                self._study = self._open_study(database, name, search)
            self._opened = stack.pop_all()

    def _read(self, storage: BaseStorage, name: str) -> None:
        """Read the stored trials, without those whose metrics are estimates."""
        stored = _get_trials(storage, name)
        self._is_empty = not stored
        self.trials = [trial for trial in stored if not is_estimate(trial)]
        if left_out := len(stored) - len(self.trials):
            self.notes.append(
                f"{self._place}: {left_out:,} evaluations do not count, since an earlier version "
                "stopped them early (search.racing): their metrics are estimates"
            )

    def _open_study(self, storage: BaseStorage, name: str, search: Search) -> optuna.Study:
        """Open the study for writing; one without trials is recreated for other objectives."""
        objectives = search.problem.objectives
        names = [objective.name for objective in objectives]
        with silence_optuna():
            if self._is_empty:
                with suppress(KeyError):
                    optuna.delete_study(study_name=name, storage=storage)
            study = optuna.create_study(
                study_name=name,
                storage=storage,
                directions=[objective.optuna_direction for objective in objectives],
                load_if_exists=True,
            )
            if study.metric_names != names:
                study.set_metric_names(names)
        return study

    def add(self, trial: FrozenTrial) -> None:
        """Store a finished trial durably before returning.

        Raises:
            InputError: The trial cannot be stored; earlier ones are.
        """
        try:
            # Waiting for a database may be interrupted; writing to a file may not.
            with file_errors(self._place), defer_signals(enabled=not self._in_database):
                add_trial(self._study, trial, self._place)
        except StorageInternalError as error:
            reason = one_line(error.__cause__ or error)
            raise InputError(f"{self._place}: cannot be written: {reason}") from None

    def close(self) -> None:
        """Release the folder; calling it again does nothing."""
        self._opened.close()


def has_results(folder: Path) -> bool:
    """Return whether a folder has a search with finished trials; assumed of one in a database.

    Raises:
        InputError: The description of the search or its journal cannot be read.
    """
    if not (folder / SEARCH_FILE).exists():
        return False
    in_database = SearchFile.load(folder).storage != IN_JOURNAL
    return in_database or ((folder / JOURNAL).exists() and bool(read_trials(folder)))


def read_trials(folder: Path) -> list[FrozenTrial]:
    """Read a search's finished trials from its journal, even while another process writes to it.

    Raises:
        InputError: There is no journal, or it cannot be read.
    """
    journal = folder / JOURNAL
    if not journal.exists():
        raise InputError(f"{journal}: there is no such file")
    # Optuna may raise any error on entries that are not its own.
    with convert_open_errors(str(journal)):
        storage = open_for_reading(journal)
        names = [study.study_name for study in storage.get_all_studies()]
        trials = _get_trials(storage, names[0]) if names else []
        return [trial for trial in trials if not is_estimate(trial)]


def _get_trials(storage: BaseStorage, name: str) -> list[FrozenTrial]:
    with silence_optuna():
        try:
            study = optuna.load_study(study_name=name, storage=storage)
        except KeyError:
            return []
    return study.get_trials(deepcopy=False, states=STORED_STATES)
