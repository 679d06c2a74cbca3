"""The options of a search: workers, time limit, storage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from search.utils.resources import RayConfig, Workers
from space.utils.errors import InputError, is_integer, shown

MAX_SECONDS = 1e8
DATABASES = ("sqlite", "postgresql", "mysql", "mariadb")


@dataclass(frozen=True)
class SearchOptions:
    """The options of a search, apart from the problem and the sampler.

    Args:
        workers: Number of Ray workers that evaluate; 0 for this process. On a local Ray, only as
            many are started as have cores; on a cluster those that do not fit wait for nodes.
        cpus_per_worker: Cores of each worker.
        gpus_per_worker: GPUs of each worker, such as 1, 0.5 or 0.25; by default an even share of
            the available ones.
        ray: The Ray cluster of the workers.
        time_limit: Time limit of an evaluation in seconds, after which it fails; none for no limit.
        retry_failed: Whether to evaluate stored archs that failed again, before others; each
            attempt is kept, the last one counts.
        storage: URL of a database for the trials, instead of a journal in the search's folder.
        reuse: Folders of searches of the same origin, whose evaluations are reused.
        latency: Latency tables or their files, for budgets and objectives on `latency_ms`, or
            `latency_ms@NAME` if there are several.

    Raises:
        InputError: A value is invalid.
    """

    # Prefix of the option names in errors.
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
        if self.time_limit is not None and not 0 < self.time_limit <= MAX_SECONDS:
            raise InputError(
                f"{self.section}time_limit: must be seconds, over 0 and up to {MAX_SECONDS:g}, "
                f"got {self.time_limit}"
            )
        if self.storage is not None:
            check_url(self.storage, f"{self.section}storage")

    def evaluators(self) -> Literal[0] | Workers:
        """Return the workers that evaluate; 0 for this process."""
        if self.workers == 0:
            return 0
        return Workers(self.workers, self.cpus_per_worker, self.gpus_per_worker, self.ray)


def check_url(url: object, name: str = "storage") -> None:
    """Refuse all but URLs of supported databases, before any driver is imported.

    Raises:
        InputError: The URL is invalid; the message calls it `name`.
    """
    text = url if isinstance(url, str) else ""
    scheme, query = text.partition("://")[0].partition("+")[0], text.partition("?")[2]
    # Other schemes load a driver from wherever the URL says, and `plugin` loads an entry point.
    if "://" not in text or scheme not in DATABASES or "plugin" in query:
        known, value = ", ".join(DATABASES), shown(without_password(text) if text else url)
        raise InputError(f"{name}: must be the URL of one of {known}, without plugins, got {value}")


def without_password(url: str) -> str:
    """Remove the password from a URL."""
    head, at, tail = url.rpartition("@")
    scheme, separator, user = head.partition("://")
    return f"{scheme}{separator}{user.split(':')[0]}@{tail}" if at else url
