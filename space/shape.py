"""The shape of a backbone: the integers that costs depend on."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, NamedTuple

from space.arch import Grid, is_grid
from space.utils.errors import InputError, shown
from space.utils.reader import Reader

MAX_DEPTH = 1000


class Part(NamedTuple):
    """The cost of one part of a backbone."""

    macs: int
    params: int

    def __str__(self) -> str:
        return f"{self.macs:,} MACs and {self.params:,} parameters"


@dataclass(frozen=True)
class BackboneShape:
    """The measured integers of a Vision Transformer, whatever its kinds of MLP and head.

    Args:
        depth: Number of blocks, all of the same size.
        width: Channels of a token.
        heads: Attention heads.
        attention_width: Channels of all queries together (heads x head width).
        grid: Height and width of the patch-token grid.
        prefix: Number of class, distillation and register tokens.
        query_key: Query and key projections and norms: MACs per token, parameters of one block.
        value_output: The rest of attention (value and output projections, gate, norm), likewise.
        mlp: The MLP, likewise.
        rest: The rest of a block (norms, LayerScale), likewise.
        stem: Patch embedding, positions and prefix tokens, per image.
        head: Final norm, pooling and classifier, per image, without `head_per_token`.
        head_per_token: MACs of the head for each patch token that reaches it.

    Raises:
        InputError: A value has the wrong type or sign.
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
        # Archs have an entry per block: without a limit a file with a huge depth fills the memory.
        Reader(self.depth, ("depth",)).integer(least=1, most=MAX_DEPTH)
        minimums = {"width": 1, "heads": 1, "attention_width": 1, "prefix": 0, "head_per_token": 0}
        for name, value in minimums.items():
            Reader(getattr(self, name), (name,)).integer(value)
        for name in PARTS:
            for key, value in getattr(self, name)._asdict().items():
                Reader(value, (name, key)).integer()
        if not is_grid(self.grid):
            raise InputError(f"grid must be two positive integers, got {shown(self.grid)}")
        if self.attention_width % self.heads:
            raise InputError(
                f"attention_width must be a multiple of heads={self.heads}, "
                f"got {self.attention_width}"
            )

    def __hash__(self) -> int:
        # Only a few fields: the hash is computed at each look-up of a cached cost.
        return hash((self.depth, self.width, self.grid))

    @property
    def patch_tokens(self) -> int:
        return self.grid[0] * self.grid[1]

    @property
    def has_dense_head(self) -> bool:
        """Whether the head predicts a map: it uses a weight at many places, a classifier once."""
        return self.head.macs > self.head.params

    def attention_elements(self, n: int, projections: int = 4, maps: int = 0) -> int:
        """Count the activation elements alive in the attention of `n` tokens.

        Args:
            n: Number of tokens N, prefix tokens included.
            projections: Projections alive, (N, A) each: query, key, value and output.
            maps: Maps and logits alive, (H, N, N) each.
        """
        projected = projections * n * self.attention_width
        return 2 * n * self.width + projected + maps * self.heads * n * n

    def mlp_elements(self, n: int) -> int:
        """Count the activation elements alive in the MLP of `n` tokens: tokens, norm, hidden."""
        return n * (2 * self.width + self.mlp.macs // self.width)

    def to_dict(self) -> dict[str, Any]:
        """Return the shape as plain values, for YAML."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        values["grid"] = list(self.grid)
        return values | {name: values[name]._asdict() for name in PARTS}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> BackboneShape:
        """Build a shape from the values that `to_dict` returns.

        Raises:
            InputError: A key is unknown or missing, or a value is invalid.
        """
        return cls.read(Reader(values, ("shape",)))

    @classmethod
    def read(cls, reader: Reader) -> BackboneShape:
        """Read a shape from a mapping of a file."""
        entries = reader.mapping(*(field.name for field in fields(cls)))
        values = {name: each.value for name, each in entries.items()}
        for name in PARTS:
            part = entries[name].mapping("macs", "params")
            values[name] = Part(part["macs"].value, part["params"].value)
        if isinstance(values["grid"], list):
            values["grid"] = tuple(values["grid"])
        return reader.make(cls, **values)


PARTS = ("query_key", "value_output", "mlp", "rest", "stem", "head")
