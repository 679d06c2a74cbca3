"""The one error of wrong input stays one line, whatever is put into it."""

import pickle

import pytest

from space import InputError
from space.utils.errors import one_line


@pytest.mark.parametrize("character", ["\n", "\r", "\x1b", "\u2028", "\x85", "\x00", "\udc80"])
def test_what_is_no_visible_character_is_escaped(character):
    message = str(InputError(f"a{character}b: wrong"))
    assert message == f"a{repr(character)[1:-1]}b: wrong"
    assert message.isprintable()


def test_only_what_is_given_apart_takes_several_lines():
    error = InputError("one\nline", "another é")
    assert str(error).split("\n") == ["one\\nline", "another é"]
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("one\n  two"), "one two"),
        (ValueError(), "ValueError"),
        (FileNotFoundError(2, "No such file", "/x"), "No such file"),
        (OSError("of its own"), "of its own"),
    ],
)
def test_an_exception_of_a_library_is_one_line(error, line):
    assert one_line(error) == line
    assert one_line(error, typed=True) == f"{type(error).__name__}: {line}".replace(
        "ValueError: ValueError", "ValueError"
    )
    assert len(one_line(ValueError("x" * 10_000))) <= 300
