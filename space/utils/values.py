"""Checks of single values."""

from __future__ import annotations

import sys
from typing import TypeGuard

from space.utils.errors import InputError, near, shown

# torch's generators take seeds of at most 64 bits.
SEED_BITS = 64


def check_one_of(name: str, value: object, known: tuple[str, ...]) -> None:
    """Refuse a value that is not one of `known`; suggests the nearest."""
    if value not in known:
        hint = near(value, list(known)) if isinstance(value, str) else ""
        raise InputError(f"{name} must be one of {', '.join(known)}, got {shown(value)}{hint}")


def is_integer(value: object) -> TypeGuard[int]:
    """Return whether `value` is an int and not a bool."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: object) -> TypeGuard[int | float]:
    """Return whether `value` is a finite number and not a bool."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    # False also for integers that overflow a float.
    return abs(value) <= sys.float_info.max


def check_seed(value: object, name: str = "seed") -> None:
    """Refuse a seed that one of the random generators does not accept."""
    if not is_integer(value) or not 0 <= value < 1 << SEED_BITS:
        raise InputError(
            f"{name}: must be an integer of 0 to 2^{SEED_BITS} - 1, got {shown(value)}"
        )
