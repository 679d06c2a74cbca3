"""Plain values: what differs, and where."""

from pathlib import Path

from search.utils.plain_values import differences, plain


def test_each_place_that_differs_is_told_with_both_values():
    old = {"a": {"b": 1, "c": [1, 2]}, "d": None, "gone": 3}
    new = {"a": {"b": 2, "c": [1, 3]}, "new": {"x": 1}}
    assert list(differences(old, new)) == [
        (("a", "b"), 1, 2),
        (("a", "c"), [1, 2], [1, 3]),
        (("gone",), 3, None),
        (("new",), None, {"x": 1}),
    ]
    assert list(differences(old, old)) == []


def test_plain_values_are_those_that_files_hold():
    value = {1: (1, 2.0), "path": Path("x"), "none": None, "deep": {"list": [True]}}
    assert plain(value) == {
        "1": [1, 2.0],
        "path": "PosixPath('x')",
        "none": None,
        "deep": {"list": [True]},
    }
