"""The error of invalid input, the formatting of its message, and checks of single values."""

import difflib
import reprlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeGuard

LONGEST = 80
LONGEST_REASON = 300
# torch's generators take seeds of at most 64 bits.
SEED_BITS = 64

_brief = reprlib.Repr()
_brief.maxlevel = 3
_brief.maxlist = _brief.maxtuple = _brief.maxdict = 24
_brief.maxstring = _brief.maxother = _brief.maxlong = LONGEST


class InputError(ValueError):
    """Invalid input of the user; its message is one line: place, value and what is expected.

    Args:
        lines: The message, a line for each error.
    """

    def __init__(self, *lines: str) -> None:
        # Names and values from files must not contain newlines or terminal escapes.
        super().__init__(*map(printable, lines))

    def __str__(self) -> str:
        return "\n".join(self.args)


@contextmanager
def naming(place: str) -> Iterator[None]:
    """Prefix the message of an InputError raised inside the context with `place`."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{place}: {error}") from None


def near(value: str, known: list[str]) -> str:
    """Return "; did you mean 'x'?" if one of `known` is close to `value`, else an empty text."""
    matches = difflib.get_close_matches(value, known, n=1, cutoff=0.6)
    return f"; did you mean {matches[0]!r}?" if matches else ""


def shown(value: object) -> str:
    """Format a value for a message: its repr, shortened in the middle."""
    return cut(_brief.repr(value))


def one_line(error: BaseException, typed: bool = False) -> str:
    """Format an exception of a library as one short line.

    Args:
        error: The exception; the number and the file of an OSError are left out.
        typed: Whether to prefix the exception's type.
    """
    text = str(getattr(error, "strerror", None) or error)
    if typed or not text.strip():
        text = f"{type(error).__name__}: {text}"
    return cut(" ".join(text.split()).removesuffix(":"), LONGEST_REASON)


def printable(text: str) -> str:
    """Escape the unprintable characters of a text."""
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


def cut(text: str, longest: int = LONGEST) -> str:
    """Shorten a text in the middle."""
    half = (longest - 3) // 2
    return text if len(text) <= longest else f"{text[:half]}...{text[-half:]}"


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


def check_name(name: object) -> str:
    """Return a name if it is valid in budgets and file names.

    Raises:
        InputError: The name has characters other than letters, digits, - and _.
    """
    if not isinstance(name, str) or not name.replace("-", "").replace("_", "").isalnum():
        raise InputError(f"must be letters, digits, - and _ alone, got {shown(name)}")
    return name
