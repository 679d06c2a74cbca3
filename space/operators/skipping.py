"""Token selective attention (ToSA, arXiv 2406.08816): some patch tokens bypass a run of blocks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

from space.arch import SELECTORS, BlockArch, Selector
from space.operators.base import (
    Axis,
    BlockCost,
    Families,
    Operator,
    OperatorMetric,
    Term,
    parse_blocks,
    place_runs,
)
from space.shape import BackboneShape
from space.state import State, Tokens
from space.utils.reader import Reader


class Skip(NamedTuple):
    """The share of the patch tokens that bypass a block, and their selector."""

    ratio: float
    selector: Selector


@dataclass(frozen=True)
class SkipAxis(Axis):
    """The blocks, skip ratios and selectors that a space allows."""

    ratios: tuple[float, ...]
    selectors: tuple[Selector, ...]
    max_run: int

    @cached_property
    def choices(self) -> tuple[Skip, ...]:
        return tuple(Skip(ratio, name) for ratio in self.ratios for name in self.selectors)


class Skipping(Operator[Skip, SkipAxis]):
    """Selection, before a run of blocks, of the patch tokens that go through it.

    Counts the blocks of the current run so far.
    """

    name, field, kind, plain = "skip", "skip", "subset", Skip(0.0, "map")
    title = "skip tokens"
    caption = (
        "Hatched: patch tokens that bypass the block unchanged; a selector chooses them (map: by a "
        "predicted attention map, cls: by the class token's query, random: at fixed random places)"
    )
    metric = OperatorMetric(
        "recall",
        "share of the most important tokens that the selectors and simpler baselines choose",
        "Recall of the selectors",
        "A selector is useful if its recall is above that of the previous map.",
        ("chance",),
    )
    keys = ("skip", "selector")

    def choice(self, block: BlockArch) -> Skip:
        return Skip(block.skip, block.selector)

    def put(self, block: BlockArch, choice: Skip) -> BlockArch:
        return replace(block, skip=choice.ratio, selector=choice.selector)

    def text(self, choice: Skip) -> str:
        return f"{choice.ratio}:{choice.selector}" if choice.ratio else "none"

    def to_dict(self, choice: Skip) -> dict[str, Any]:
        values: dict[str, Any] = {"skip": float(choice.ratio)} if choice.ratio else {}
        if choice.ratio or choice.selector != "map":
            values["selector"] = choice.selector
        return values

    def from_dict(self, entries: Mapping[str, Reader]) -> Skip:
        values: dict[str, Any] = {key: entries[key].value for key in self.keys if key in entries}
        return Skip(values.get("skip", 0.0), values.get("selector", "map"))

    def read_axis(self, section: Reader, shape: BackboneShape) -> SkipAxis:
        keys = section.mapping("ratios", blocks="all", selectors=("map",), max_run=1)
        return SkipAxis(
            parse_blocks(keys["blocks"], shape.depth, first=1),
            keys["ratios"].distinct(Reader.ratio),
            keys["selectors"].distinct(lambda each: each.choice(SELECTORS)),
            keys["max_run"].integer(1),
        )

    def canonical(self, tokens: Tokens, counter: int, choice: Skip, axis: SkipAxis | None) -> Skip:
        ratio, selector = choice
        k = count_kept(ratio, tokens.patches)
        if k == tokens.patches:
            return self.plain
        if axis is not None:
            ratios = (each for each in axis.ratios if count_kept(each, tokens.patches) == k)
            ratio = min(ratios, default=ratio)
        # Tokens are selected only before a run, so inside it the selector has no effect.
        return Skip(ratio, "map" if counter else selector)

    def violation(
        self, i: int, tokens: Tokens, counter: int, choice: Skip, axis: SkipAxis | None
    ) -> str | None:
        if not choice.ratio:
            return None
        if not counter:
            if i == 0:
                return "block 0 cannot skip: the tokens are scored in the block before a run"
            if not tokens.own_maps:
                return "a run of skipping blocks starts only after a block that attends by itself"
            if tokens.changed:
                return "a run of skipping blocks starts only after a block that saw its tokens"
        elif count_kept(choice.ratio, tokens.patches) != tokens.selected:
            return f"skip {choice.ratio} differs from the ratio at which this run of blocks started"
        if axis is not None and counter >= axis.max_run:
            return f"more than {axis.max_run} skipping blocks in a row (skip.max_run)"
        return None

    def advance(self, tokens: Tokens, counter: int, choice: Skip) -> tuple[Tokens, int]:
        if choice.ratio and counter:
            return tokens, counter + 1
        if not choice.ratio and not counter:
            return tokens, 0
        selected = count_kept(choice.ratio, tokens.patches) if choice.ratio else 0
        after = Tokens(tokens.grid, tokens.patches, selected, True, tokens.own_maps)
        return after, int(not counter)

    def cost(self, tokens: Tokens, counter: int, choice: Skip, shape: BackboneShape) -> BlockCost:
        if not choice.ratio:
            return BlockCost()
        n = tokens.patches + shape.prefix
        if counter:
            return BlockCost(held=n * shape.width)
        # The selector uses the attention of the block before the run; a map selector reads its
        # logits and adds a hidden and a predicted map; a random one uses nothing.
        macs = params = maps = 0
        if choice.selector == "map":
            macs, params, maps = 2 * shape.heads**2 * n * n, 2 * shape.heads**2 + shape.heads, 3
        elif choice.selector == "cls":
            macs = shape.attention_width * n
        k = count_kept(choice.ratio, tokens.patches)
        return BlockCost(
            macs=macs,
            params=params,
            before=max(shape.mlp_elements(n), shape.attention_elements(n, maps=maps)),
            held=n * shape.width,
            terms=((Term(f"{choice.selector} selector", tokens.patches, k), macs),),
        )

    def effect(self, after: State, choice: Skip) -> list[Any]:
        return [after.tokens.selected, choice.selector]

    def decode_gene(self, tokens: Tokens, counter: int, value: Skip, axis: SkipAxis) -> Skip:
        if not counter or not value.ratio:
            return value
        # A block that skips right after a block of a run continues it, at the canonical ratio.
        ratios = (r for r in axis.ratios if count_kept(r, tokens.patches) == tokens.selected)
        return Skip(min(ratios), "map")

    def encode_gene(self, tokens: Tokens, counter: int, choice: Skip, axis: SkipAxis) -> Skip:
        # Inside a run all skip values are equivalent.
        return axis.choices[0] if counter and choice.ratio else choice

    def families(self, axis: SkipAxis | None, depth: int, ends: list[int]) -> Families:
        lengths = {"alternate skip": 1, "skip alone": axis.max_run if axis else 0}
        return {name: place_runs(axis, length, depth) for name, length in lengths.items()}

    def describe(self, choice: Skip) -> str:
        if not choice.ratio:
            return ""
        return f"{choice.ratio:.0%} of the patch tokens skip it, chosen by `{choice.selector}`"

    def label(self, before: Tokens, after: Tokens, choice: Skip) -> str:
        return "" if before.selected else choice.selector


@lru_cache(maxsize=65536)
def count_kept(ratio: float, tokens: int) -> int:
    """Return K = P - floor(ratio * P), in exact decimals: 0.29 * 100 skips 29 tokens, not 28."""
    return tokens - int(Fraction(str(ratio)) * tokens)
