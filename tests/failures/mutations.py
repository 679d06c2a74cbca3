"""Inputs that are nearly right, or not at all: damaged bytes and trees, hypothesis' trees."""

import copy
import json
import random
import re
from functools import lru_cache

import yaml
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

# What runs where a reader is not careful; the watcher looks for the file and for the module.
CANARY = "canary"
MODULE = "tokennas_canary"

HOSTILE = (
    None,
    True,
    False,
    0,
    -1,
    1,
    2**31,
    2**63,
    -(2**64),
    10**30,
    10**400,
    0.0,
    -0.0,
    1e-320,
    1e308,
    float("nan"),
    float("inf"),
    float("-inf"),
    "",
    " ",
    "\x00",
    "a\nb",
    "\x1b[2J",
    "\u2028\u202e",
    "\ud7ff\U0001f600",
    "[/]",
    "[bold",
    "%s%n{0}",
    "x" * 5000,
    "[" * 20_000,
    "{a: " * 5000,
    "- " * 5000,
    "../../../etc/passwd",
    "..",
    "/",
    "/etc/passwd",
    "~root",
    "$(touch canary)",
    "os.system",
    "__class__",
    "null",
    "1e400",
    "[1, 2",
    "{a: 1}",
    "hf-hub:a/b",
    "local-dir:/etc",
    [],
    {},
    [[]],
    [None] * 50,
    {"": {}},
    {"class_path": f"{MODULE}.Thing"},
    {"class_path": "os.system", "init_args": {"command": f"touch {CANARY}"}},
    {"__reduce__": [f"{MODULE}.Thing", []]},
)
# Text that no value gives. A word such as RAW3RAW stands for each until the tree has been written.
RAW_YAML = (
    "!!python/object/apply:os.system ['touch canary']",
    f"!!python/name:{MODULE}.Thing ''",
    f"!!python/module:{MODULE} ''",
    f"!!python/object/new:{MODULE}.Thing []",
    "!!binary aGk=",
    "!!set {a, b}",
    "!!timestamp 2001-01-01",
    "!!float x",
    "!!int 0x",
    "! x",
    "&a [*a]",
    "{<<: {a: 1}}",
    "{? [a] : 1}",
    "1e400",
    "0b111",
    "1:30:30",
    "0o7777777777777777777777",
    "[" * 60 + "]" * 60,
    "[" * 3000,
    "&x [1, *x, *x]",
    "[&a [1,1,1,1,1,1,1,1], &b [*a,*a,*a,*a,*a,*a,*a,*a], &c [*b,*b,*b,*b,*b,*b,*b,*b],"
    " &d [*c,*c,*c,*c,*c,*c,*c,*c], &e [*d,*d,*d,*d,*d,*d,*d,*d], &f [*e,*e,*e,*e,*e,*e,*e,*e]]",
    "'\\x85'",
    '"\\0\\a\\e\\N\\L"',
    "|\n  text",
    "--- a",
)
RAW_JSON = (
    "NaN",
    "Infinity",
    "1e400",
    "-1e400",
    "1" + "0" * 400,
    "1" + "0" * 5000,
    "[" * 60 + "]" * 60,
    "[" * 100_000,
    '{"a":' * 3000,
    '"\\ud800"',
    '"\\u0000"',
    "{",
    "01",
    '{"a": 1, "a": 2}',
)
TOKENS = (
    *(text.encode() for text in (*RAW_YAML[:12], *RAW_JSON)),
    b"\x00",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\n" * 3000,
    b"\r",
    b"\t",
    b": ",
    b"- ",
    b"{}",
    b"'",
    b'"',
    b"*a",
    b"&a ",
    b"%YAML 9.9\n",
    b"---\n",
    b"...\n",
    b"cos\nsystem\n(S'touch canary'\ntR.",
    b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x0ctouch canary\x85R.",
)


def damaged(rng: random.Random, data: bytes, others: list[bytes]) -> bytes:
    """Bytes with one to four things done to them."""
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data) + 1)
        end = min(len(data), at + rng.choice((1, 1, 4, 40, 400)))
        way = rng.randrange(8)
        if way == 0:
            data = data[:at]
        elif way == 1 and at < len(data):
            data = data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :]
        elif way == 2:
            data = data[:at] + rng.randbytes(end - at) + data[end:]
        elif way == 3:
            data = data[:at] + data[end:]
        elif way == 4:
            data = data[:at] + rng.choice(TOKENS) + data[at:]
        elif way == 5:
            other = rng.choice(others)
            data = data[:at] + other[rng.randrange(len(other) + 1) :]
        elif way == 6:
            data = data[:end] + data[at:end] * rng.choice((1, 3, 50)) + data[end:]
        else:
            data = _renumbered(rng, data)
    return data


def _renumbered(rng: random.Random, data: bytes) -> bytes:
    """One number of the text becomes another: a file that is nearly right."""
    found = list(re.finditer(rb"-?\d+(\.\d+)?", data))
    if not found:
        return data
    one = rng.choice(found)
    other = rng.choice((b"0", b"-1", b"1", b"2", b"7", b"0.5", b"1e9", b"99999999999", b".5", b""))
    return data[: one.start()] + other + data[one.end() :]


def places(tree, place=()):
    """Every place of a tree, its root first."""
    yield place
    if isinstance(tree, dict | list):
        for key, child in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from places(child, (*place, key))


def bent(rng: random.Random, tree, raw: int):
    """A copy of a tree with one to three nodes replaced, removed, doubled, renamed or nudged.

    Args:
        rng: what decides.
        tree: of mappings, lists and plain values.
        raw: how many raw texts there are to choose from.
    """
    tree = copy.deepcopy(tree)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        # Most places are leaves far down: each depth is as likely as another.
        known = list(places(tree))
        deep = rng.randint(0, max(map(len, known)))
        place = rng.choice([each for each in known if len(each) == deep])
        if not place:
            if rng.random() < 0.1:
                return _hostile(rng, raw)
            continue
        parent = tree
        for key in place[:-1]:
            parent = parent[key]
        _bend(rng, parent, place[-1], raw)
    return tree


def _bend(rng, parent, key, raw):
    way = rng.randrange(7)
    if way == 0:
        del parent[key]
    elif way == 1 and isinstance(parent, list):
        parent[:] = parent * rng.choice((2, 3)) if rng.random() < 0.5 else [*parent, parent[key]]
    elif way == 2 and isinstance(parent, dict):
        value = parent.pop(key)
        known = [*map(str, parent), "zzz", str(key) + "s", "../x", "a.b", "\n", "class_path", "<<"]
        parent[rng.choice(known)] = value
    elif way == 3 and isinstance(parent, dict):
        parent[rng.choice(("runtime_env", "class_path", "x", "a\nb", "[/]"))] = _hostile(rng, raw)
    elif way in (4, 5) and _is_number(parent[key]):
        value = parent[key]
        choices = (value + 1, value - 1, -value, value * 2, value * 1000, float(value), str(value))
        parent[key] = rng.choice(choices)
    else:
        parent[key] = _hostile(rng, raw)


def _is_number(value):
    return isinstance(value, int | float) and abs(value) < 1e300 and not isinstance(value, bool)


def _hostile(rng, raw):
    if raw and rng.random() < 0.3:
        return f"RAW{rng.randrange(raw)}RAW"
    return copy.deepcopy(rng.choice(HOSTILE))


class _Dumper(yaml.SafeDumper):
    """Writes each value where it stands: anchors come from raw text alone."""

    def ignore_aliases(self, data):
        return True


def as_yaml(rng: random.Random, tree) -> bytes:
    """A tree as YAML of any style, with the raw texts in their places."""
    style = rng.choice((None, False, True))
    text = yaml.dump(tree, Dumper=_Dumper, sort_keys=False, default_flow_style=style, width=100)
    return _raw(text, RAW_YAML).encode("utf-8", "surrogatepass")


def as_json(tree) -> bytes:
    """A tree as JSON on one line, with the raw texts in their places."""
    return _raw(re.sub(r'"(RAW\d+RAW)"', r"\1", json.dumps(tree)), RAW_JSON).encode()


def _raw(text, raw):
    return re.sub(r"RAW(\d+)RAW", lambda found: raw[int(found[1]) % len(raw)], text)


BATCH = 50


@lru_cache(maxsize=4)
def trees(keys: tuple[str, ...], number: int) -> list:
    """A batch of trees that hypothesis makes, of these keys and of others; always the same ones."""
    leaves = st.one_of(
        st.sampled_from(HOSTILE),
        st.integers(),
        st.floats(),
        st.text(max_size=8),
        st.sampled_from(keys),
        st.booleans(),
    )
    names = st.one_of(st.sampled_from(keys), st.text(max_size=5))
    tree = st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=5),
        max_leaves=12,
    )
    top = st.dictionaries(st.sampled_from(keys), tree, max_size=len(keys))
    found = []

    @seed(number)
    @settings(
        max_examples=BATCH,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(top)
    def collect(example):
        found.append(copy.deepcopy(example))

    collect()
    return found
