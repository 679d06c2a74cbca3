"""The one error that a user's own input raises."""

import difflib


class InputError(ValueError):
    """What was given is not right; the message is one line: place, value, what would be right."""


def near(value: str, known: list[str]) -> str:
    """The ending "; did you mean 'x'?" where one of `known` is close to `value`, else nothing."""
    found = difflib.get_close_matches(value, known, n=1, cutoff=0.6)
    return f"; did you mean {found[0]!r}?" if found else ""
