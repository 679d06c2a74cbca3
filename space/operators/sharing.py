"""Attention sharing (PSViT, arXiv 2108.03428): a block reuses the maps of the block before it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

from space.arch import Attention, BlockArch
from space.operators.base import Axis, BlockCost, Families, Operator, Term, parse_blocks, place_runs
from space.shape import BackboneShape
from space.state import Tokens
from space.utils.reader import Reader


@dataclass(frozen=True)
class ShareAxis(Axis):
    """The blocks of a space that may share attention maps."""

    max_run: int

    @cached_property
    def choices(self) -> tuple[Attention, ...]:
        return ("shared",)


class Sharing(Operator[Attention, ShareAxis]):
    """Attention with own maps, or with those of the block before, without query and key.

    Counts the shared blocks in a row.
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

    def read_axis(self, section: Reader, shape: BackboneShape) -> ShareAxis:
        keys = section.mapping(blocks="all", max_run=1)
        return ShareAxis(
            parse_blocks(keys["blocks"], shape.depth, first=1), keys["max_run"].integer(1)
        )

    def violation(
        self, i: int, tokens: Tokens, counter: int, choice: Attention, axis: ShareAxis | None
    ) -> str | None:
        if choice == "own":
            return None
        if i == 0:
            return "block 0 has no block before it whose maps it could share"
        if tokens.changed:
            return "a block can share maps only with a block that saw exactly the same tokens"
        if axis is not None and counter >= axis.max_run:
            return f"more than {axis.max_run} shared blocks in a row (share.max_run)"
        return None

    def advance(self, tokens: Tokens, counter: int, choice: Attention) -> tuple[Tokens, int]:
        shared = choice == "shared"
        after = Tokens(tokens.grid, tokens.patches, tokens.selected, False, not shared)
        return after, counter + 1 if shared else 0

    def cost(
        self, tokens: Tokens, counter: int, choice: Attention, shape: BackboneShape
    ) -> BlockCost:
        patches, n = tokens.processed, tokens.processed + shape.prefix
        macs = n * shape.value_output.macs + shape.attention_width * n * n
        params = shape.value_output.params
        if choice == "own":
            macs += n * shape.query_key.macs + shape.attention_width * n * n
            params += shape.query_key.params
            within = shape.attention_elements(n)
        else:
            within = shape.attention_elements(n, projections=2, maps=1)
        terms = [(Term(choice, patches, patches), macs + n * shape.mlp.macs)]
        if choice == "shared" and not counter:
            # The map is alive from the block before, which computes it, to the last that shares it.
            producer = shape.attention_elements(n, maps=2)
            within = max(within, producer, shape.mlp_elements(n) + shape.heads * n * n)
            terms.append((Term("kept map", patches, patches), 0))
        return BlockCost(macs=macs, params=params, within=within, terms=tuple(terms))

    def families(self, axis: ShareAxis | None, depth: int, ends: list[int]) -> Families:
        lengths = {"share 1:1": 1, "share 1:2": 2, "share alone": axis.max_run if axis else 0}
        return {name: place_runs(axis, length, depth) for name, length in lengths.items()}

    def describe(self, choice: Attention) -> str:
        return "the attention maps of the block before" if choice == "shared" else "own attention"
