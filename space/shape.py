"""The integers of a backbone that costs depend on."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, NamedTuple

from space.arch import Grid
from space.utils.errors import InputError, shown
from space.utils.reader import Reader
from space.utils.values import is_integer

MOST_DEPTH = 1000


class Part(NamedTuple):
    """What one part of a backbone costs."""

    macs: int
    params: int


@dataclass(frozen=True)
class BackboneShape:
    """A Vision Transformer as measured integers; no flags, so that no MLP or head is a case.

    Args:
        depth: number of blocks, all of the same size.
        width: channels of a token.
        heads: attention heads.
        attention_width: channels of all queries together (heads x head width).
        grid: height and width of the patch-token grid.
        prefix: class, distillation and register tokens.
        query_key: query and key projections with their norms; MACs per token, params of one block.
        value_output: value and output projections; likewise.
        mlp: the MLP; likewise.
        rest: what else is in a block (norms, LayerScale); likewise.
        stem: patch embedding, positions and prefix tokens, for one image.
        head: final norm, pooling and classifier, for one image, apart from `head_per_token`.
        head_per_token: MACs of the head for each patch token that reaches it.

    Raises:
        InputError: a value of the wrong type or sign.
    """

    depth: int
    width: int
    heads: int
    attention_width: int
    grid: Grid
    prefix: int
    query_key: Part
    value_output: Part
    mlp: Part
    rest: Part
    stem: Part
    head: Part
    head_per_token: int

    def __post_init__(self) -> None:
        for name in ("depth", "width", "heads", "attention_width"):
            _check(name, getattr(self, name), least=1)
        if self.depth > MOST_DEPTH:
            # An arch has an entry for each block: a number in a file would fill the memory.
            raise InputError(f"depth must be at most {MOST_DEPTH}, got {shown(self.depth)}")
        for name in ("prefix", "head_per_token"):
            _check(name, getattr(self, name), least=0)
        if not isinstance(self.grid, tuple) or len(self.grid) != 2:
            raise InputError(f"grid must be [height, width], got {shown(self.grid)}")
        for side in self.grid:
            _check("grid", side, least=1)
        for name in PARTS:
            for what, value in getattr(self, name)._asdict().items():
                _check(f"{name}.{what}", value, least=0)
        if self.attention_width % self.heads:
            raise InputError(
                f"attention_width must be a multiple of heads={self.heads}, "
                f"got {self.attention_width}"
            )

    @property
    def patch_tokens(self) -> int:
        return self.grid[0] * self.grid[1]

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, mappings and integers, for YAML."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        values["grid"] = list(self.grid)
        return values | {name: values[name]._asdict() for name in PARTS}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> BackboneShape:
        """The inverse of `to_dict`.

        Raises:
            InputError: a key is unknown or missing, or a value is not right.
        """
        return cls.read(Reader(values, ("shape",)))

    @classmethod
    def read(cls, reader: Reader) -> BackboneShape:
        """The shape that a mapping of a file describes."""
        given = reader.mapping(*(field.name for field in fields(cls)))
        values = {name: each.value for name, each in given.items()}
        for name in PARTS:
            part = given[name].mapping("macs", "params")
            values[name] = Part(part["macs"].value, part["params"].value)
        if isinstance(values["grid"], list):
            values["grid"] = tuple(values["grid"])
        return reader.make(cls, **values)


PARTS = ("query_key", "value_output", "mlp", "rest", "stem", "head")


def _check(name: str, value: object, least: int) -> None:
    if not is_integer(value) or value < least:
        raise InputError(f"{name} must be an integer of at least {least}, got {shown(value)}")
