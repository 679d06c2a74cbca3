"""What a config refuses before anything is imported that works with it."""

from __future__ import annotations

from space.errors import InputError

MOST_SECONDS = 1e8


def check_limit(limit: float | None, name: str = "time_limit") -> None:
    """Refuse what is no time that could be waited.

    Raises:
        InputError: naming it as `name`.
    """
    if limit is not None and not 0 < limit <= MOST_SECONDS:
        raise InputError(f"{name}: must be seconds, over 0 and up to {MOST_SECONDS:g}, got {limit}")
