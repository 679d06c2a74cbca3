"""BackboneShape: round trip through plain values, and the refusal of what is not right."""

import dataclasses
import json
import random

import pytest
from hypothesis import given
from space_toys import deit_small, random_shape, randoms

from space import BackboneShape, InputError


@given(randoms)
def test_to_dict_is_plain_and_gives_the_shape_again(rng):
    shape = random_shape(rng)
    plain = json.loads(json.dumps(shape.to_dict()))
    assert plain == shape.to_dict()
    assert BackboneShape.from_dict(plain) == shape
    assert hash(BackboneShape.from_dict(plain)) == hash(shape)


def test_patch_tokens_are_those_of_the_grid():
    assert deit_small().patch_tokens == 196
    shape = dataclasses.replace(deit_small(), grid=(3, 5))
    assert shape.patch_tokens == 15


KNOWN = ", ".join(field.name for field in dataclasses.fields(BackboneShape))
WRONG = [
    ({"depth": 0}, "shape: depth: must be an integer of 1 to 1000, got 0"),
    ({"depth": 10**9}, "shape: depth: must be an integer of 1 to 1000, got 1000000000"),
    ({"depth": True}, "shape: depth: must be an integer of 1 to 1000, got True"),
    ({"depth": "12"}, "shape: depth: must be an integer of 1 to 1000, got '12'"),
    ({"width": 384.0}, "shape: width: must be an integer of at least 1, got 384.0"),
    ({"heads": None}, "shape: missing 'heads'"),
    ({"prefix": -1}, "shape: prefix: must be an integer of at least 0, got -1"),
    ({"head_per_token": -1}, "shape: head_per_token: must be an integer of at least 0, got -1"),
    ({"attention_width": 385}, "shape: attention_width must be a multiple of heads=6, got 385"),
    ({"grid": 14}, "shape: grid must be two positive integers, got 14"),
    ({"grid": [14]}, "shape: grid must be two positive integers, got (14,)"),
    ({"grid": [14, 0]}, "shape: grid must be two positive integers, got (14, 0)"),
    ({"grid": [14, "14"]}, "shape: grid must be two positive integers, got (14, '14')"),
    ({"mlp": 5}, "shape.mlp: must be a mapping of macs, params, got 5"),
    ({"mlp": {"macs": 5}}, "shape.mlp: missing 'params'"),
    (
        {"mlp": {"macs": 5, "params": 6, "flops": 7}},
        "shape.mlp.flops: unknown key; known are macs, params",
    ),
    ({"mlp": {"macs": 5, "parms": 6}}, "shape.mlp.parms: unknown key; did you mean 'params'?"),
    (
        {"stem": {"macs": -5, "params": 6}},
        "shape: stem.macs: must be an integer of at least 0, got -5",
    ),
    (
        {"rest": {"macs": 0, "params": 1.5}},
        "shape: rest.params: must be an integer of at least 0, got 1.5",
    ),
    ({"hight": 3}, f"shape.hight: unknown key; known are {KNOWN}"),
    (
        {"head_per_tokens": 3},
        "shape.head_per_tokens: unknown key; did you mean 'head_per_token'?",
    ),
    ({3: 3}, f"shape.3: unknown key; known are {KNOWN}"),
]


@pytest.mark.parametrize(("change", "message"), WRONG)
def test_a_wrong_value_is_refused_by_name(change, message):
    with pytest.raises(InputError) as caught:
        BackboneShape.from_dict(deit_small().to_dict() | change)
    assert str(caught.value) == message


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(BackboneShape)])
def test_a_missing_key_is_refused_by_name(name):
    values = deit_small().to_dict()
    del values[name]
    with pytest.raises(InputError, match=f"^shape: missing '{name}'$"):
        BackboneShape.from_dict(values)


@pytest.mark.parametrize("values", [None, [], "deit", 3])
def test_what_is_no_mapping_is_refused(values):
    with pytest.raises(InputError, match=r"^shape: must be a mapping of depth, width, heads, "):
        BackboneShape.from_dict(values)


def test_from_dict_leaves_its_argument_alone():
    values = random_shape(random.Random(0)).to_dict()
    before = json.dumps(values)
    BackboneShape.from_dict(values)
    assert json.dumps(values) == before
