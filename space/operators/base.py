"""What a token operator is to the space: a choice of each block, its rules and what it costs.

An operator is one file here and one of the same name in `supernet.operators`, which has its
weights and its computation. All else loops over the registry and names none.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar, Generic, Literal, NamedTuple, Protocol, TypeVar

from space.arch import BlockArch
from space.shape import BackboneShape
from space.state import State, Tokens
from space.utils.errors import shown
from space.utils.reader import Reader
from space.utils.values import is_integer

Kind = Literal["reduce", "subset", "attention"]
ChoiceT = TypeVar("ChoiceT")
AxisT = TypeVar("AxisT", bound="Axis")
# Hand-made archs: the choices of the operator, by block.
Placing = dict[int, Any]


class Axis(Protocol):
    """What a space may choose of one operator: the `space.NAME` section of a config."""

    @property
    def blocks(self) -> tuple[int, ...]:
        """The blocks that may choose."""

    @property
    def choices(self) -> tuple[Any, ...]:
        """What they may choose beside the plain choice, in the order of genes."""

    def to_dict(self) -> dict[str, Any]:
        """The section that gives this axis."""


class Term(NamedTuple):
    """One thing that takes time: an operator on so many tokens.

    Args:
        operator: What works: `own`, `avg2d`, `map selector`.
        tokens: Patch tokens that it works on.
        left: Patch tokens that it leaves.
    """

    operator: str
    tokens: int
    left: int

    def __str__(self) -> str:
        tokens = str(self.tokens)
        return f"{self.operator} {tokens if self.left == self.tokens else f'{tokens}>{self.left}'}"


class BlockCost(NamedTuple):
    """What a block costs for one image, or what one operator adds to that.

    Args:
        macs: Multiply-accumulates.
        params: Parameters.
        before: Most elements of activations alive at once before the block begins.
        within: Most elements alive at once inside the block, apart from those that are `held`.
        held: Elements that stay alive all through the block, such as tokens that bypass it.
        terms: What takes time, each with its share of the MACs.
    """

    macs: int = 0
    params: int = 0
    before: int = 0
    within: int = 0
    held: int = 0
    terms: tuple[tuple[Term, int], ...] = ()

    @property
    def peak(self) -> int:
        """Most elements of activations alive at once."""
        return max(self.before, self.held + self.within)

    def plus(self, other: BlockCost) -> BlockCost:
        """Both together."""
        return BlockCost(
            self.macs + other.macs,
            self.params + other.params,
            max(self.before, other.before),
            max(self.within, other.within),
            self.held + other.held,
            self.terms + other.terms,
        )


FREE = BlockCost()


class Operator(ABC, Generic[ChoiceT, AxisT]):
    """One thing that a block may do with its tokens or its attention. Stateless; one instance.

    A block goes through its operators in the order of the registry; each finds the tokens as those
    before it left them. `own` is what the operator counts for itself along the arch.

    Attributes:
        name: Its section of a space's config, and how messages call it.
        field: Its field of `BlockArch`, key in arch files and prefix of its genes. An operator
            from outside has no such field: its choices are kept in `BlockArch.extra`.
        kind: `reduce` leaves fewer tokens for good, `subset` lets some bypass the block,
            `attention` changes how the block attends. A block has one reduce or subset at most.
        plain: The choice that changes nothing.
        title: What a block does with it, for plots: "skip tokens".
        caption: What marks it in the plot of an arch, in a sentence.
    """

    name: ClassVar[str]
    field: ClassVar[str]
    kind: ClassVar[Kind]
    plain: ChoiceT
    title: ClassVar[str]
    caption: ClassVar[str]

    # --- a choice and its place in a block

    def choice(self, block: BlockArch) -> ChoiceT:
        """The choice that a block has of this operator."""
        return dict(block.extra).get(self.field, self.plain)  # type: ignore[return-value]

    def put(self, block: BlockArch, choice: ChoiceT) -> BlockArch:
        """The block with another choice."""
        extra: dict[str, Any] = {k: v for k, v in block.extra if k != self.field}
        if choice != self.plain:
            extra[self.field] = choice
        return replace(block, extra=tuple(sorted(extra.items())))

    @abstractmethod
    def text(self, choice: ChoiceT) -> str:
        """A choice as a gene's value."""

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of a block in arch files that are this operator's."""
        return (self.field,)

    def to_dict(self, choice: ChoiceT) -> dict[str, Any]:
        """What a block of an arch file says of a choice; nothing of the plain one."""
        return {} if choice == self.plain else {self.field: choice}

    @abstractmethod
    def from_dict(self, given: Mapping[str, Reader]) -> ChoiceT:
        """The choice of a block of an arch file, from those of its `keys` that are there."""

    # --- what is allowed

    @abstractmethod
    def read_axis(self, section: Reader, shape: BackboneShape) -> AxisT:
        """What a space may choose, from its section of a config."""

    def start(self) -> Any:
        """What is counted, before block 0."""
        return None

    def canonical(self, tokens: Tokens, own: Any, choice: ChoiceT, axis: AxisT | None) -> ChoiceT:
        """The choice that computes the same: the plain one where it changes nothing, else of
        several equal ones of the axis the first."""
        return choice

    def violation(
        self, i: int, tokens: Tokens, own: Any, choice: ChoiceT, axis: AxisT | None
    ) -> str | None:
        """Why block `i` cannot make a canonical choice; None where it can. Limits are the axis's;
        there are none without one."""
        return None

    def unlisted(self, tokens: Tokens, own: Any, choice: ChoiceT, axis: AxisT | None) -> str | None:
        """What of a canonical choice an axis does not list, in words; None where it lists all."""
        if axis is not None and choice in axis.choices:
            return None
        return f"{self.name} {self.text(choice)}"

    @abstractmethod
    def advance(self, tokens: Tokens, own: Any, choice: ChoiceT) -> tuple[Tokens, Any]:
        """The tokens and the counter after a canonical choice, the plain one too."""

    # --- what it costs, and what tells it from others

    @abstractmethod
    def cost(self, tokens: Tokens, own: Any, choice: ChoiceT, shape: BackboneShape) -> BlockCost:
        """What a choice adds to a block, and to the block before it on its account."""

    @abstractmethod
    def effect(self, after: State, choice: ChoiceT) -> list[Any]:
        """What a choice computes, in plain values, by which archs are told apart."""

    def kernel(self, choice: ChoiceT) -> str | None:
        """The weights that only archs with this choice train, by name."""
        return None

    # --- how it is proposed

    def gene_choices(self, axis: AxisT, found: Iterable[ChoiceT]) -> Iterable[ChoiceT]:
        """The choices that the gene of a block has beside the plain one.

        Args:
            axis: What the space may choose.
            found: The choices that some arch of the space makes there.
        """
        return axis.choices

    def decoded(self, tokens: Tokens, own: Any, asked: ChoiceT, axis: AxisT) -> ChoiceT:
        """The choice that a gene's value stands for at these tokens."""
        return asked

    def encoded(self, tokens: Tokens, own: Any, choice: ChoiceT, axis: AxisT) -> ChoiceT:
        """A choice of the gene that `decoded` gives this one for."""
        return choice

    def families(
        self, axis: AxisT | None, depth: int, ends: list[Any]
    ) -> dict[str, Iterator[Placing]]:
        """The archs that people build by hand with this operator, by the name of the family.

        Args:
            axis: What the space may choose; None where it may choose nothing.
            depth: Blocks of the backbone.
            ends: What this operator has counted at the ends of the archs of the space.
        """
        return {}

    # --- how it is told to people

    @abstractmethod
    def describe(self, choice: ChoiceT) -> str:
        """A choice in words, for a model card; empty for one that needs none."""

    def label(self, before: Tokens, after: Tokens, choice: ChoiceT) -> str:
        """A choice that is not the plain one in a few short lines, for the plot of an arch."""
        return self.text(choice)

    def summary(self, choice: ChoiceT) -> str:
        """What choices that are not the plain one are counted as; empty where all are alike."""
        return self.text(choice)


def attention_elements(n: int, shape: BackboneShape, *, projections: int = 4, maps: int = 0) -> int:
    """Elements alive in the attention of a block of N tokens: the tokens and their norm, so many
    projections of the attention's width, so many maps of all heads."""
    projected = projections * n * shape.attention_width
    return 2 * n * shape.width + projected + maps * shape.heads * n * n


def mlp_elements(n: int, shape: BackboneShape) -> int:
    """Elements alive in the MLP of a block of N tokens: the tokens, their norm, what is hidden."""
    return n * (2 * shape.width + shape.mlp.macs // shape.width)


def blocks_of(section: Reader, depth: int, first: int) -> tuple[int, ...]:
    """The blocks that a section lists, in order; "all" is every block from `first` on."""
    if section.value == "all":
        return tuple(range(first, depth))

    def block(each: Reader) -> int:
        value = each.value
        if not is_integer(value) or not 0 <= value < depth:
            raise each.error(f"must be a block of 0 to {depth - 1}, got {shown(value)}")
        if value < first:
            raise each.error(f"block {value} can never make this choice; the first is {first}")
        return value

    return tuple(sorted(section.distinct(block)))
