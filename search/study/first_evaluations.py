"""The first evaluations of a search or of a resumed one: if all fail, the search ends."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from optuna.trial import FrozenTrial

from search.problem.evaluation import Record
from search.study.storage import Store
from space.utils.errors import InputError

MAX_FAILURES = 10


class FirstEvaluations:
    """A writer of finished trials, which ends a search whose first evaluations all fail.

    Nothing is stored before the first success, so that archs which failed because of a time limit
    or a device are tried again. After it, failures are stored at once.

    Args:
        store: Storage of the trials; None to store nothing.
        records: Finished evaluations of earlier runs.

    Attributes:
        succeeded: Whether an evaluation of this search has succeeded, in this run or earlier.
    """

    def __init__(self, store: Store | None, records: Iterable[Record]) -> None:
        self.succeeded = any(map(_succeeded, records))
        self._store = store
        self._waiting: list[FrozenTrial] = []
        self._errors: list[str] = []
        self._succeeded_now = False

    def add(self, trial: FrozenTrial, record: Record, retried: bool) -> None:
        """Store a finished trial, now or once an evaluation has succeeded.

        Failures count until the first success of this run; those of retried archs only while the
        search has had no success at all.

        Raises:
            InputError: The trial cannot be stored, or the first evaluations all failed.
        """
        self._waiting.append(trial)
        self._succeeded_now = self._succeeded_now or _succeeded(record)
        self.succeeded = self.succeeded or self._succeeded_now
        if self.succeeded:
            self._flush()
        if record.error is None or self._succeeded_now or (retried and self.succeeded):
            return
        self._errors.append(record.error)
        if len(self._errors) < MAX_FAILURES:
            return
        if not self.succeeded:
            raise _all_failed_error(f"first {MAX_FAILURES}", self._errors[0])
        raise InputError(
            f"the first {MAX_FAILURES} evaluations of this run failed, the first with "
            f"{self._errors[0]}; the same command goes on after them, and with "
            "search.retry_failed it tries them again"
        )

    def end(self, records: Sequence[Record]) -> None:
        """Store the trials that are still waiting, at the end of the search.

        Raises:
            InputError: All evaluations failed.
        """
        failed = [record.error for record in records if record.error is not None]
        if failed and len(failed) == len(records):
            raise _all_failed_error(str(len(failed)), failed[0])
        self._flush()

    def _flush(self) -> None:
        while self._waiting:
            if self._store is not None:
                self._store.add(self._waiting[0])
            del self._waiting[0]


def _all_failed_error(which: str, error: str) -> InputError:
    return InputError(
        f"none of the {which} evaluations succeeded, the first failed with {error}; nothing is "
        "stored: once that is mended (a larger search.time_limit, another device) the same command "
        "tries these archs again"
    )


def _succeeded(record: Record) -> bool:
    return record.error is None and not record.reused
