"""The durable storage of a search: one Optuna trial for each finished evaluation.

Optuna's own formats, so that optuna-dashboard and Optuna's functions open them: a journal file in
the search's folder, or any database that Optuna has a URL for. One process writes.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import FrozenTrial, TrialState

from search.problem.objectives import Objective
from search.study.database import add_trial, open_database, opening, reach
from search.study.database_url import without_password
from search.study.journal import read_storage, repair, write_storage
from search.study.proposals import quiet
from search.study.search_file import SearchFile, settle, study_name
from search.study.trial_format import is_estimate
from search.utils.file_lock import FolderLock
from space.utils.atomic import make_folder, writing
from space.utils.errors import InputError, one_line
from space.utils.signals import stoppable

JOURNAL = "journal.log"
FINISHED = (TrialState.COMPLETE, TrialState.FAIL)


class Store:
    """The finished trials of a search, on disk or in a database.

    Args:
        folder: of the search; made where there is none.
        description: what results depend on.
        objectives: in the order of the values of a trial.
        url: of a database, where the trials are not to lie in the folder.
        driver: process that runs the search; None for this one.

    Attributes:
        trials: what was there on opening, in the order of finishing.
        notes: what had to be repaired, in one line each.

    Raises:
        InputError: another command is at work in the folder, its results belong to something else,
            or the storage cannot be opened.
    """

    def __init__(
        self,
        folder: Path,
        description: SearchFile,
        objectives: tuple[Objective, ...],
        *,
        url: str | None = None,
        driver: int | None = None,
    ) -> None:
        make_folder(folder)
        self._lock = FolderLock(folder, driver)
        self._database: RDBStorage | None = None
        self.notes: list[str] = []
        try:
            self._open(folder, description, objectives, url, driver)
        except BaseException:
            self.close()
            raise

    def _open(
        self,
        folder: Path,
        description: SearchFile,
        objectives: tuple[Objective, ...],
        url: str | None,
        driver: int | None,
    ) -> None:
        journal = folder / JOURNAL
        storage = "journal" if url is None else without_password(url)
        self._place = str(journal) if url is None else f"storage {storage}"
        there = journal.exists() and journal.stat().st_size > 0
        if url is not None:
            # Before the folder is tied to it: a wrong URL can be mended.
            with opening(self._place):
                reach(url)
        name = study_name(folder, storage, there)
        described = replace(description, storage=storage, study=name)
        if url is None:
            with opening(self._place), writing(journal):
                note = repair(journal)
                self.notes += [note] if note else []
                self._read(read_storage(journal), name)
                settle(folder, described, bool(self.trials))
                # Optuna's lock, interrupted, hides why behind an error of its own.
                with stoppable():
                    self._study = self._create(write_storage(journal), name, objectives)
        else:
            with opening(self._place):
                self._database = open_database(url, name, driver)
                self._read(self._database, name)
                settle(folder, described, bool(self.trials))
                self._study = self._create(self._database, name, objectives)

    def _read(self, storage: BaseStorage, name: str) -> None:
        """Reads the trials that are there, without those whose metrics are estimates."""
        stored = _trials(storage, name)
        self.trials = _without_estimates(stored)
        if left_out := len(stored) - len(self.trials):
            self.notes.append(
                f"{self._place}: {left_out:,} evaluations do not count, since an earlier version "
                "stopped them early (search.racing): their metrics are estimates"
            )

    def _create(
        self, storage: BaseStorage, name: str, objectives: tuple[Objective, ...]
    ) -> optuna.Study:
        """The study to write to; while it has no trials it is made anew, for other objectives."""
        names = [objective.name for objective in objectives]
        with quiet():
            if not self.trials:
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
        """Store a finished trial; when this returns it is on the disk, or in the database.

        Raises:
            InputError: it cannot be stored; what was stored before is.
        """
        try:
            # A database may be waited for, which can be interrupted.
            with writing(self._place), stoppable(wanted=self._database is None):
                add_trial(self._study, trial, self._place)
        except StorageInternalError as error:
            reason = one_line(error.__cause__ or error)
            raise InputError(f"{self._place}: cannot be written: {reason}") from None

    def close(self) -> None:
        """Let others write; calling it again does nothing."""
        if self._database is not None:
            self._database.engine.dispose()
        self._lock.release()


def read_trials(folder: Path) -> list[FrozenTrial]:
    """The finished trials of a search that another process may be running, from its journal.

    Raises:
        InputError: there is no journal, or it cannot be read.
    """
    journal = folder / JOURNAL
    if not journal.exists():
        raise InputError(f"{journal}: there is no such file")
    # Entries that are none of Optuna's may still be replayed.
    with opening(str(journal)):
        storage = read_storage(journal)
        names = [study.study_name for study in storage.get_all_studies()]
        return _without_estimates(_trials(storage, names[0])) if names else []


def _without_estimates(trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
    return [trial for trial in trials if not is_estimate(trial)]


def _trials(storage: BaseStorage, name: str) -> list[FrozenTrial]:
    with quiet():
        try:
            study = optuna.load_study(study_name=name, storage=storage)
        except KeyError:
            return []
    return study.get_trials(deepcopy=False, states=FINISHED)
