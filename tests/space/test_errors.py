"""The one error of wrong input stays one line, whatever is put into it."""

import pickle

import pytest

from space import InputError


@pytest.mark.parametrize("character", ["\n", "\r", "\x1b", "\u2028", "\x85", "\x00", "\udc80"])
def test_what_is_no_visible_character_is_escaped(character):
    message = str(InputError(f"a{character}b: wrong"))
    assert message == f"a{repr(character)[1:-1]}b: wrong"
    assert message.isprintable()


def test_only_what_is_given_apart_takes_several_lines():
    error = InputError("one\nline", "another é")
    assert str(error).split("\n") == ["one\\nline", "another é"]
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
