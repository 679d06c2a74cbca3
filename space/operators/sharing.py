"""Attention sharing (PSViT, arXiv 2108.03428): a block reuses the maps of the block before it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from space.arch import Attention, BlockArch
from space.operators.base import (
    BlockCost,
    Operator,
    Placing,
    Term,
    attention_elements,
    blocks_of,
    mlp_elements,
)
from space.shape import BackboneShape
from space.state import State, Tokens
from space.utils.reader import Reader


@dataclass(frozen=True, slots=True)
class ShareAxis:
    """The blocks of a space that may share attention maps."""

    blocks: tuple[int, ...]
    max_run: int

    @property
    def choices(self) -> tuple[Attention, ...]:
        return ("shared",)

    def to_dict(self) -> dict[str, Any]:
        return {"blocks": list(self.blocks), "max_run": self.max_run}


class Sharing(Operator[Attention, ShareAxis]):
    """Attention by own maps, or by those of the block before, without query and key projections.

    Its counter: shared blocks in a row.
    """

    name, field, kind, plain = "share", "attention", "attention", "own"
    title = "share attention"
    caption = (
        "Maps of: the block has no query and key; it reuses the attention maps of the block with "
        "this number"
    )

    def choice(self, block: BlockArch) -> Attention:
        return block.attention

    def put(self, block: BlockArch, choice: Attention) -> BlockArch:
        return replace(block, attention=choice)

    def text(self, choice: Attention) -> str:
        return choice

    def from_dict(self, given: Mapping[str, Reader]) -> Attention:
        return given["attention"].value if "attention" in given else "own"

    def read_axis(self, section: Reader, shape: BackboneShape) -> ShareAxis:
        keys = section.mapping(blocks="all", max_run=1)
        return ShareAxis(
            blocks_of(keys["blocks"], shape.depth, first=1), keys["max_run"].integer(1)
        )

    def start(self) -> int:
        return 0

    def violation(
        self, i: int, tokens: Tokens, own: int, choice: Attention, axis: ShareAxis | None
    ) -> str | None:
        if choice == "own":
            return None
        if i == 0:
            return "block 0 has no block before it whose maps it could share"
        if tokens.changed:
            return "a block can share maps only with a block that saw exactly the same tokens"
        if axis is not None and own >= axis.max_run:
            return f"more than {axis.max_run} shared blocks in a row (share.max_run)"
        return None

    def unlisted(
        self, tokens: Tokens, own: int, choice: Attention, axis: ShareAxis | None
    ) -> str | None:
        return None if axis is not None else "shared attention"

    def advance(self, tokens: Tokens, own: int, choice: Attention) -> tuple[Tokens, int]:
        shared = choice == "shared"
        after = Tokens(tokens.grid, tokens.patches, tokens.inside, False, not shared)
        return after, own + 1 if shared else 0

    def cost(self, tokens: Tokens, own: int, choice: Attention, shape: BackboneShape) -> BlockCost:
        n = tokens.seen + shape.prefix
        product = shape.attention_width * n * n
        values, mlp = shape.value_output, n * shape.mlp.macs
        if choice == "own":
            macs = n * (shape.query_key.macs + values.macs) + 2 * product
            return BlockCost(
                macs=macs,
                params=shape.query_key.params + values.params,
                within=attention_elements(n, shape),
                terms=((Term("own", tokens.seen, tokens.seen), macs + mlp),),
            )
        macs = n * values.macs + product
        within = attention_elements(n, shape, projections=2, maps=1)
        terms: tuple[tuple[Term, int], ...] = (
            (Term("shared", tokens.seen, tokens.seen), macs + mlp),
        )
        if not own:
            # The map is alive from the block before, which computes it, to the last that shares it.
            made = attention_elements(n, shape, maps=2)
            within = max(within, made, mlp_elements(n, shape) + shape.heads * n * n)
            terms += ((Term("kept map", tokens.seen, tokens.seen), 0),)
        return BlockCost(macs=macs, params=values.params, within=within, terms=terms)

    def effect(self, after: State, choice: Attention) -> list[Any]:
        return [choice]

    def families(
        self, axis: ShareAxis | None, depth: int, ends: list[int]
    ) -> dict[str, Iterator[Placing]]:
        blocks = range(depth) if axis else range(0)
        return {
            "share 1:1": _every(1, blocks),
            "share 1:2": _every(2, blocks),
            "share alone": _every(axis.max_run if axis else 0, blocks),
        }

    def describe(self, choice: Attention) -> str:
        return "the attention maps of the block before" if choice == "shared" else "own attention"

    def summary(self, choice: Attention) -> str:
        return ""


def _every(run: int, blocks: range) -> Iterator[Placing]:
    """Yield placings with an own block before every `run` shared ones, from some block on."""
    for first in blocks:
        shared = (i for i in blocks[first:] if (i - first) % (run + 1))
        yield dict.fromkeys(shared, "shared")
