"""The checked reader of files and configs: what is wrong, where, and what would be right."""

import pytest

from space import InputError
from space.utils.reader import Reader, open_json, open_yaml


def test_optional_keys_have_their_defaults_and_null_is_no_value():
    given = Reader({"a": 1, "b": None}).mapping("a", b=2, c="x")
    assert {name: each.value for name, each in given.items()} == {"a": 1, "b": 2, "c": "x"}
    assert given["b"].place == ("b",)


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (
            lambda at: at.mapping("alpha", beta=1),
            "at: must be a mapping of alpha, beta, got [3, 3]",
        ),
        (lambda at: at.entries(), "at: must be a mapping, got [3, 3]"),
        (lambda at: at.distinct(Reader.integer), "at[1]: 3 is listed twice"),
        (lambda at: at.items()[0].text(), "at[0]: must be text, got 3"),
        (lambda at: at.items()[0].flag(), "at[0]: must be true or false, got 3"),
        (lambda at: at.items()[0].ratio(), "at[0]: must be a number in (0, 1), got 3"),
        (lambda at: at.items()[0].number(least=4), "at[0]: must be a number of at least 4, got 3"),
        (lambda at: at.items()[1].integer(least=4), "at[1]: must be an integer of at least 4, got"),
        (lambda at: at.numbers(3), "at: must be 3 numbers, got [3, 3]"),
        (lambda at: at.named_numbers(), "at: must be numbers by name, got [3, 3]"),
        (lambda at: at.items()[0].choice(("up", "down")), "at[0]: value must be one of up, down"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(read, message):
    with pytest.raises(InputError) as caught:
        read(Reader([3, 3], ("at",)))
    assert str(caught.value).startswith(message)


def test_a_key_that_nobody_knows_is_told_on_its_line(tmp_path):
    (tmp_path / "a.yaml").write_text("schema: toys/1\nname: a\nnmae: b\n")
    reader = open_yaml(tmp_path / "a.yaml", "toys/1")
    with pytest.raises(InputError, match=r"a\.yaml:3: nmae: unknown key; did you mean 'name'\?$"):
        reader.mapping("schema", "name")
    with pytest.raises(InputError, match=r"a\.yaml:1: schema: must be toys/2, got 'toys/1'"):
        open_yaml(tmp_path / "a.yaml", "toys/2")


@pytest.mark.parametrize("content", ["", "{", "\x00", "[" * 100_000])
def test_what_is_no_json_is_one_line(tmp_path, content):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(InputError, match=r"a\.json: cannot be read: ") as caught:
        open_json(tmp_path / "a.json")
    assert "\n" not in str(caught.value)
