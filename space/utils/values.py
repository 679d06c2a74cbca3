"""Checks of single values."""

from __future__ import annotations

import sys
from typing import TypeGuard

from space.utils.errors import InputError, near, shown

# torch's generators take no more.
SEED_BITS = 64


def one_of(name: str, value: object, known: tuple[str, ...]) -> None:
    """Refuse a value that is not one of `known`, naming the nearest."""
    if value not in known:
        hint = near(value, list(known)) if isinstance(value, str) else ""
        raise InputError(f"{name} must be one of {', '.join(known)}, got {shown(value)}{hint}")


def is_integer(value: object) -> TypeGuard[int]:
    """Whether `value` is an int; True and False are not."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether `value` is a number, neither NaN nor infinite; True and False are none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    # Also of integers that no float can hold.
    return abs(value) <= sys.float_info.max


def check_seed(value: object, name: str = "seed") -> None:
    """Refuse what not every generator of random numbers takes, naming it as `name`."""
    if not is_integer(value) or not 0 <= value < 1 << SEED_BITS:
        raise InputError(
            f"{name}: must be an integer of 0 to 2^{SEED_BITS} - 1, got {shown(value)}"
        )
