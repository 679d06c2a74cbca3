"""The one error that a user's own input raises, and how values stand in its line."""

import difflib
import reprlib
from collections.abc import Iterator
from contextlib import contextmanager

LONGEST = 80
LONGEST_REASON = 300

_brief = reprlib.Repr()
_brief.maxlevel = 3
_brief.maxlist = _brief.maxtuple = _brief.maxdict = 24
_brief.maxstring = _brief.maxother = _brief.maxlong = LONGEST


class InputError(ValueError):
    """What was given is not right; the message is one line: place, value, what would be right.

    Args:
        lines: the message; several only where several things are told at once.
    """

    def __init__(self, *lines: str) -> None:
        # Names and values come from files: none may break the line, or speak to the terminal.
        super().__init__(*map(printable, lines))

    def __str__(self) -> str:
        return "\n".join(self.args)


@contextmanager
def naming(place: str) -> Iterator[None]:
    """Puts a place before what an InputError says that is raised inside."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{place}: {error}") from None


def near(value: str, known: list[str]) -> str:
    """The ending "; did you mean 'x'?" where one of `known` is close to `value`, else nothing."""
    found = difflib.get_close_matches(value, known, n=1, cutoff=0.6)
    return f"; did you mean {found[0]!r}?" if found else ""


def shown(value: object) -> str:
    """`value` as it stands in an error: its repr, with the middle left out where it is long."""
    return cut(_brief.repr(value))


def one_line(error: BaseException, typed: bool = False) -> str:
    """What an exception of a library says, which may be a page, in one short line.

    Args:
        error: The exception; an OSError's line leaves out its number and its file.
        typed: Whether the line begins with the exception's type.
    """
    text = str(getattr(error, "strerror", None) or error)
    if typed or not text.strip():
        text = f"{type(error).__name__}: {text}"
    return cut(" ".join(text.split()).removesuffix(":"), LONGEST_REASON)


def printable(text: str) -> str:
    """`text` with what is no visible character escaped."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


def cut(text: str, longest: int = LONGEST) -> str:
    """`text` with its middle left out where it is long."""
    half = (longest - 3) // 2
    return text if len(text) <= longest else f"{text[:half]}...{text[-half:]}"
