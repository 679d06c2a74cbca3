"""How a search runs, whatever it looks for: processes, storage, limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from search.evaluators.time_limit import check_limit
from search.utils.resources import RayConfig, Workers
from space.utils.errors import InputError, shown
from space.utils.values import is_integer

DATABASES = ("sqlite", "postgresql", "mysql", "mariadb")


@dataclass(frozen=True)
class SearchOptions:
    """How a search runs.

    Args:
        workers: processes that evaluate, through Ray; 0 for this one. On this machine no more are
            started than have cores; on a cluster those that find no place wait for nodes to join.
        cpus_per_worker: cores of each.
        gpus_per_worker: GPUs of each, such as 1, 0.5 or 0.25; by default an even share of those
            that are there.
        ray: which Ray they run on.
        time_limit: seconds after which an evaluation has failed; none for no limit.
        retry_failed: true to evaluate stored archs that failed once more, before others; each
            attempt is kept, the last one counts.
        storage: URL of a database for the trials, instead of a journal in the run's folder.
        reuse: folders of searches of the same origin, whose evaluations are not made again.
        latency: latency tables, or their files: budgets and objectives may then say `latency_ms`,
            or `latency_ms@NAME` where there are several.

    Raises:
        InputError: A value is not right.
    """

    # What stands before the names of values in errors.
    section: ClassVar[str] = ""

    workers: int = 0
    cpus_per_worker: float = 1.0
    gpus_per_worker: float | None = None
    ray: RayConfig = field(default_factory=RayConfig)
    time_limit: float | None = None
    retry_failed: bool = False
    storage: str | None = None
    reuse: Sequence[str | Path] = ()
    latency: Sequence[Any] = ()

    def __post_init__(self) -> None:
        if not is_integer(self.workers) or self.workers < 0:
            raise InputError(
                f"{self.section}workers: must be at least 0, got {shown(self.workers)}"
            )
        check_limit(self.time_limit, f"{self.section}time_limit")
        if self.storage is not None:
            check_url(self.storage, f"{self.section}storage")

    def evaluators(self) -> Literal[0] | Workers:
        """The processes that evaluate; 0 for this one."""
        if self.workers == 0:
            return 0
        return Workers(self.workers, self.cpus_per_worker, self.gpus_per_worker, self.ray)


def check_url(url: object, name: str = "storage") -> None:
    """Reject all but URLs of supported databases, before any driver is imported.

    Raises:
        InputError: The URL is invalid; the message calls it `name`.
    """
    text = url if isinstance(url, str) else ""
    scheme, query = text.partition("://")[0].partition("+")[0], text.partition("?")[2]
    # Other schemes load a driver from wherever the URL says, and `plugin` loads an entry point.
    if "://" not in text or scheme not in DATABASES or "plugin" in query:
        known, given = ", ".join(DATABASES), shown(without_password(text) if text else url)
        raise InputError(f"{name}: must be the URL of one of {known}, without plugins, got {given}")


def without_password(url: str) -> str:
    """Remove the password from a URL."""
    head, at, tail = url.rpartition("@")
    scheme, separator, user = head.partition("://")
    return f"{scheme}{separator}{user.split(':')[0]}@{tail}" if at else url
