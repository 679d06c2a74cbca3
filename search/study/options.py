"""The options of a search: workers, time limit, storage."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import unquote

from search.utils.resources import RayConfig
from space.utils.errors import InputError, is_integer, is_number, shown

MAX_SECONDS = 1e8
DATABASES = ("sqlite", "postgresql", "mysql", "mariadb")
PLUGIN = re.compile("[?&]plugin=")
PASSWORD = re.compile(r"([?&]\w*passw(?:or)?d=)[^&]*")


@dataclass(frozen=True)
class SearchOptions:
    """How a search runs, and its latency tables; problem and sampler are other arguments.

    Args:
        workers: Number of Ray workers that evaluate; 0 for this process. On a local Ray, cores and
            GPUs limit their number; on a cluster, those that do not fit wait for nodes.
        cpus_per_worker: Cores of each worker.
        gpus_per_worker: GPUs of each worker, such as 1, 0.5 or 0.25; by default an even share of
            the available ones.
        ray: The Ray cluster of the workers.
        time_limit: Time limit of an evaluation in seconds, after which it fails; null for no limit.
        retry_failed: Whether to retry archs whose stored evaluation failed, before new ones; every
            attempt is kept, the last one counts.
        storage: URL of a database for the trials, instead of a journal in the search's folder.
        reuse: Folders of searches of the same origin, whose evaluations are reused.
        latency: Latency tables or their files, for budgets and objectives on `latency_ms`, or
            `latency_ms@NAME` if there are several.

    Raises:
        InputError: A value is invalid.
    """

    # Prefix of the option names in errors.
    prefix: ClassVar[str] = ""

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
                f"{self.prefix}workers: must be an integer of at least 0, got {shown(self.workers)}"
            )
        limit = self.time_limit
        if limit is not None and not (is_number(limit) and 0 < limit <= MAX_SECONDS):
            raise InputError(
                f"{self.prefix}time_limit: must be a number of seconds, over 0 and at most "
                f"{MAX_SECONDS:,.0f}, got {shown(limit)}"
            )
        if self.storage is not None:
            check_url(self.storage, f"{self.prefix}storage")


def check_url(url: object, name: str = "storage") -> None:
    """Refuse all but URLs of supported databases, before any driver is imported.

    Raises:
        InputError: The URL is invalid; the message calls it `name`.
    """
    text = url if isinstance(url, str) else ""
    scheme = text.partition("://")[0].partition("+")[0]
    # SQLAlchemy imports the package that a scheme or `?plugin=` names.
    if "://" not in text or scheme not in DATABASES or PLUGIN.search(unquote(text)):
        known, value = ", ".join(DATABASES), shown(without_password(text) if text else url)
        raise InputError(f"{name}: must be the URL of one of {known}, without plugins, got {value}")


def without_password(url: str) -> str:
    """Remove passwords from a URL, that of the user and those in the query."""
    head, at, tail = PASSWORD.sub(r"\1***", url).rpartition("@")
    scheme, separator, user = head.partition("://")
    return f"{scheme}{separator}{user.split(':')[0]}@{tail}" if at else tail
