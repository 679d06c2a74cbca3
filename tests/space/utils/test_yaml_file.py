"""YAML from strangers: whatever a file holds, it is read or refused in one line, and soon."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from space import Arch, InputError, load_arch, load_arch_file
from space.utils.yaml_file import dotted, read_yaml

LAUGHS = "a: &a [1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
KEYS = "schema, shape, blocks, cost, backbone, input, classes, task, metrics, origin"
MAPPING = f": must be a mapping of {KEYS}, got"
HOSTILE = [
    ("", ": the file is empty"),
    ("# nothing\n", ": the file is empty"),
    ("--- \n...\n", f"{MAPPING} None"),
    ("just text", f"{MAPPING} 'just text'"),
    ("- a\n- b\n", f"{MAPPING} ['a', 'b']"),
    ("a: 1\n---\nb: 2\n", ":2: no valid YAML: expected a single document in the stream, but found"),
    ("a: [1,\nb: 2", ":3: no valid YAML: while parsing a flow sequence, did not find expected"),
    ("a:\n\t- b", ":2: no valid YAML: "),
    ("%FOO\n---\na", ":1: no valid YAML: while scanning a directive"),
    (b"\xff\xfe\x00\x00", ": no valid YAML: 'utf-8' codec can't decode byte"),
    (b"abc: \x80", ": no valid YAML: 'utf-8' codec can't decode byte"),
    (b"a: \x00", ": no valid YAML: "),
    (b"\x89PNG\r\n\x1a\n", ": no valid YAML: 'utf-8' codec can't decode byte"),
    ("x" * 10_000_000, ": larger than 1 MiB"),
    ("[" * 10_000_000, ": larger than 1 MiB"),
    ("[" * 1_000_000, ":1: nested deeper than 40 levels"),
    ("{a: " * 200_000, ":1: nested deeper than 40 levels"),
    ("- " * 400_000, ":1: nested deeper than 40 levels"),
    ("? " * 400_000, ":1: nested deeper than 40 levels"),
    ("\n".join(" " * i + "a:" for i in range(1000)), ":41: nested deeper than 40 levels"),
    ("[" + "1," * 500_000 + "]", ":1: more than 100,000 values"),
    ("[" + "{}," * 300_000 + "]", ":1: more than 100,000 values"),
    ("".join(f"k{i}: 1\n" for i in range(80_000)), "more than 100,000 values"),
    (LAUGHS, ": too many values; aliases may not multiply"),
    ("a: &a [*a]", ": too many values; aliases may not multiply"),
    ("&a {k: *a, l: *a}", ": too many values; aliases may not multiply"),
    (
        f"a: &a {'x' * 500_000}\nschema: [{', '.join(['*a'] * 9_000)}]",
        "schema: must be tokennas/arch/1",
    ),
    (
        f"schema: [&a {'x' * 500_000}, {', '.join(['*a'] * 90_000)}]",
        "schema: must be tokennas/arch/1",
    ),
    (f"a: !<{'x' * 5000}> [b]", ": a: the tag 'xxx"),
    (f"{'k' * 1000}: 1", "unknown key"),
    ('"a\\u2028b": 1', "a\\u2028b: unknown key"),
]


@pytest.mark.parametrize(("content", "message"), HOSTILE, ids=range(len(HOSTILE)))
def test_what_is_no_arch_file_at_all_is_refused_in_one_line(complaint, content, message):
    start = time.process_time()
    assert message in complaint(content)
    assert time.process_time() - start < 30, "not a speed: what is expanded would take hours"


def test_a_value_of_gigabytes_through_aliases_is_shown_short(valid, complaint):
    many = f"[&a {'x' * 500_000}, {', '.join(['*a'] * 50_000)}]"
    found = complaint(valid.replace("schema: tokennas/arch/1", f"schema: {many}"))
    assert "schema: must be tokennas/arch/1, got ['xxx" in found


def test_aliases_that_do_not_multiply_are_read(tmp_path, valid):
    path = tmp_path / "arch.yaml"
    text = valid.replace("- {attention: shared}", "- &s {attention: shared}")
    first, last = text.index("- {}"), text.rindex("- {}")
    assert first < text.index("&s") < last
    text = text[:last] + "- *s" + text[last + 4 :]
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"cost\.macs: does not fit"):
        load_arch(path)
    path.write_text(valid.replace("top1: 0.5", "top1: &t 0.5, top5: *t"), encoding="utf-8")
    assert load_arch_file(path).metrics == {"top1": 0.5, "top5": 0.5}


@pytest.mark.parametrize(
    ("place", "shown"),
    [
        ((), ""),
        (("blocks", 3, "pool", "grid"), "blocks[3].pool.grid"),
        ((0, "a"), "[0].a"),
        ((".a", "b"), ".a.b"),
        (("a\nb", 1), "a\\nb[1]"),
    ],
)
def test_places_are_written_as_people_write_them(place, shown):
    assert dotted(place) == shown


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz") / "arch.yaml"


def loads_or_refuses_in_one_line(path, raw):
    path.write_bytes(raw)
    try:
        arch = load_arch(path)
    except InputError as error:
        message = str(error)
        assert message.startswith(str(path))
        assert len(message.splitlines()) == 1
        assert message.isprintable()
        assert len(message) < 300 + len(str(path))
    else:
        assert isinstance(arch, Arch)


SCALARS = st.sampled_from(
    ["{}", "[]", "null", "~", "true", "-1", "0", "1e3", ".nan", ".inf", "1:30", "0x1f", "''", "=",
     "<<", "&a", "*a", "!!int", "!!python/none", "2024-01-02", "- ", "? ", ": ", "|", ">", "%", "@",
     "\t", "\n", "\r", "\x85", "\u2028", "\ufeff", "\0", "\U0001f600", "---", "...", "#", "'", '"']
)  # fmt: skip


@st.composite
def mutated(draw, text):
    """`text` with up to four pieces cut, doubled, or replaced by bytes or by bits of YAML."""
    raw = text.encode()
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(raw)))
        stop = draw(st.integers(start, min(start + 12, len(raw))))
        piece = draw(st.binary(max_size=4) | SCALARS.map(str.encode) | st.just(raw[start:stop] * 2))
        raw = raw[:start] + piece + raw[stop:]
    return raw


@settings(max_examples=1000)
@given(st.data())
def test_a_mutated_file_is_loaded_or_refused_in_one_line(path, valid, data):
    loads_or_refuses_in_one_line(path, data.draw(mutated(valid)))


@settings(max_examples=500)
@given(st.text() | st.lists(SCALARS).map("".join) | st.lists(SCALARS).map(" ".join))
def test_any_text_is_refused_in_one_line(path, text):
    loads_or_refuses_in_one_line(path, text.encode(errors="surrogatepass"))


@settings(max_examples=200)
@given(st.binary())
def test_any_bytes_are_refused_in_one_line(path, raw):
    loads_or_refuses_in_one_line(path, raw)


VALUES = st.recursive(
    SCALARS | st.integers().map(str) | st.floats().map(str),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda each: f"[{', '.join(each)}]")
        | st.tuples(SCALARS, inner).map(lambda pair: f"{{{pair[0]}: {pair[1]}}}")
    ),
    max_leaves=5,
)


@settings(max_examples=500)
@given(st.data(), VALUES)
def test_any_value_in_any_place_is_loaded_or_refused_in_one_line(path, valid, data, value):
    lines = valid.splitlines()
    at = data.draw(st.integers(0, len(lines) - 1))
    key = lines[at].split(": ")[0] + ": " if ": " in lines[at] else "- "
    text = "\n".join([*lines[:at], key + value, *lines[at + 1 :]])
    loads_or_refuses_in_one_line(path, text.encode())


def test_integer_keys_become_text_where_they_are_allowed(tmp_path):
    path = tmp_path / "a.yaml"

    def read(text):
        path.write_text(text)
        return read_yaml(path, integer_keys=True)

    document = read("a:\n  0: 255\n  -1: 2\n  0x10: 3\n  '7': 4\n  b: 5\n")
    assert document.data == {"a": {"0": 255, "-1": 2, "16": 3, "7": 4, "b": 5}}
    assert document.lines[("a", "16")] == 4
    for text, message in (
        ("{1: a, '1': b}", "1: given twice"),
        ("{1.5: a}", "a key must be text, got '1.5'"),
        ("{yes: a}", "a key must be text, got 'yes'"),
        ("{~: a}", "a key must be text, got '~'"),
        (f"{{{'9' * 40}: a}}", "is too long a number"),
        ("{!!int x: a}", "'x' is no text, number or boolean"),
    ):
        with pytest.raises(InputError, match=message):
            read(text)
    path.write_text("{1: a}")
    with pytest.raises(InputError, match="a key must be text, got '1'"):
        read_yaml(path)
