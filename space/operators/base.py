"""The base class of operators: choices, rules and costs, without torch.

The file of the same name in `supernet.operators` has the weights and the forward pass. All other
code loops over the registry.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Generic, Literal, NamedTuple, TypeVar

from space.arch import BlockArch
from space.shape import BackboneShape
from space.state import State, Tokens
from space.utils.reader import Reader

Kind = Literal["reduce", "subset", "attention"]
ChoiceT = TypeVar("ChoiceT")
AxisT = TypeVar("AxisT", bound="Axis")
# A hand-made arch: the choices of one operator by block; and such archs by family.
Placement = dict[int, Any]
Families = dict[str, Iterator[Placement]]


@dataclass(frozen=True)
class Axis(ABC):
    """The allowed choices of one operator: the `space.NAME` section of a config.

    Args:
        blocks: The blocks that may make a choice.
    """

    blocks: tuple[int, ...]

    @property
    @abstractmethod
    def choices(self) -> tuple[Any, ...]:
        """The choices other than the plain one, in gene order."""

    def __getstate__(self) -> dict[str, Any]:
        """Pickle the fields without cached properties."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def to_dict(self) -> dict[str, Any]:
        """Return the config section of this axis."""
        return {name: _plain(value) for name, value in self.__getstate__().items() if value != ()}


class Term(NamedTuple):
    """A latency term: an operation on a number of tokens.

    Args:
        operator: Name of the operation, such as `own`, `avg2d` or `map selector`.
        tokens: Patch tokens before it.
        left: Patch tokens after it.
    """

    operator: str
    tokens: int
    left: int

    def __str__(self) -> str:
        tokens = str(self.tokens)
        return f"{self.operator} {tokens if self.left == self.tokens else f'{tokens}>{self.left}'}"


class BlockCost(NamedTuple):
    """The cost of a block for one image, or the share of one operator in it.

    Args:
        macs: Multiply-accumulates.
        params: Parameters.
        before: Peak activation elements before the block begins.
        within: Peak activation elements during the block, `held` excluded.
        held: Activation elements alive throughout the block, such as tokens that bypass it.
        terms: Latency terms, each with its MACs.
    """

    macs: int = 0
    params: int = 0
    before: int = 0
    within: int = 0
    held: int = 0
    terms: tuple[tuple[Term, int], ...] = ()


class OperatorMetric(NamedTuple):
    """A metric of an operator's learned weights, logged and plotted during training.

    Args:
        name: Name in the log.
        meaning: Explanation in the log's legend: what it is a share of.
        title: Title of its plot, in which shares are per cent.
        good: What a good value is, for the plot's caption.
        controls: Names of the values to compare with, dashed in the plot.
    """

    name: str
    meaning: str
    title: str
    good: str
    controls: tuple[str, ...] = ()


class Operator(ABC, Generic[ChoiceT, AxisT]):
    """An operation that a block may apply to its tokens or attention. Stateless; one instance.

    A block applies its operators in the order of the registry, each to the tokens that the one
    before left. `counter` is what the operator alone counts along the arch.

    Attributes:
        name: Name in messages and of its section in a space's config.
        field: Field of `BlockArch`, key in arch files and prefix of its genes; the choices of a
            user-registered operator are in `BlockArch.extra` instead.
        kind: `reduce` removes tokens for good, `subset` lets some bypass the block, `attention`
            changes how the block attends. A block has one reduce or subset at most.
        plain: The choice that changes nothing.
        title: What a block does, for plots: "skip tokens".
        caption: Legend of its mark in the plot of an arch.
        metric: Metric of its weights, which the `TokenOperator` measures; None without one.
    """

    name: ClassVar[str]
    field: ClassVar[str]
    kind: ClassVar[Kind]
    plain: ChoiceT
    title: ClassVar[str]
    caption: ClassVar[str]
    metric: ClassVar[OperatorMetric | None] = None

    # --- choices in blocks and files

    def choice(self, block: BlockArch) -> ChoiceT:
        """Return this operator's choice in a block."""
        return dict(block.extra).get(self.field, self.plain)  # type: ignore[return-value]

    def put(self, block: BlockArch, choice: ChoiceT) -> BlockArch:
        """Return a copy of the block with this choice of the operator."""
        extra: dict[str, Any] = {k: v for k, v in block.extra if k != self.field}
        if choice != self.plain:
            extra[self.field] = choice
        return replace(block, extra=tuple(sorted(extra.items())))

    def text(self, choice: ChoiceT) -> str:
        """Format a choice as a gene's value."""
        return str(choice)

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of a block that this operator has in arch files."""
        return (self.field,)

    def to_dict(self, choice: ChoiceT) -> dict[str, Any]:
        """Return a choice as keys of a block in arch files; empty for the plain one."""
        return {} if choice == self.plain else {self.field: choice}

    def from_dict(self, entries: Mapping[str, Reader]) -> ChoiceT:
        """Read a choice from the entries of a block in an arch file, some of `keys`."""
        choice: ChoiceT = entries[self.field].value
        return choice

    # --- rules

    @abstractmethod
    def read_axis(self, section: Reader, shape: BackboneShape) -> AxisT:
        """Read the axis from its section of a config."""

    def start(self) -> Any:
        """Return the counter before block 0."""
        return 0

    def canonical(
        self, tokens: Tokens, counter: Any, choice: ChoiceT, axis: AxisT | None
    ) -> ChoiceT:
        """Return the choice that stands for all of the same effect; the plain one for no effect."""
        return choice

    def violation(
        self, i: int, tokens: Tokens, counter: Any, choice: ChoiceT, axis: AxisT | None
    ) -> str | None:
        """Return why a block cannot make a canonical choice, or None.

        Without an axis there are no limits, and `i` is 0 for block 0 and 1 for all later blocks:
        what a block may choose by its index belongs in the axis.
        """
        return None

    @abstractmethod
    def advance(self, tokens: Tokens, counter: Any, choice: ChoiceT) -> tuple[Tokens, Any]:
        """Return tokens and counter after a canonical choice, which may be the plain one."""

    # --- costs and identity

    @abstractmethod
    def cost(
        self, tokens: Tokens, counter: Any, choice: ChoiceT, shape: BackboneShape
    ) -> BlockCost:
        """Return the cost that a choice adds to the block and to the block before it."""

    def effect(self, after: State, choice: ChoiceT) -> list[Any]:
        """Return plain values that identify what a choice computes."""
        return [self.text(choice)]

    def kernel(self, choice: ChoiceT) -> str | None:
        """Return the name of the weights that only archs with this choice train, or None."""
        return None

    # --- genes and baselines

    def gene_choices(self, axis: AxisT, possible: Iterable[ChoiceT]) -> Iterable[ChoiceT]:
        """Return the choices of a block's gene other than the plain one.

        Args:
            axis: The axis of the space.
            possible: The choices that some arch of the space makes in that block.
        """
        return axis.choices

    def decode_gene(self, tokens: Tokens, counter: Any, value: ChoiceT, axis: AxisT) -> ChoiceT:
        """Return the choice that a gene's value encodes at these tokens."""
        return value

    def encode_gene(self, tokens: Tokens, counter: Any, choice: ChoiceT, axis: AxisT) -> ChoiceT:
        """Return a gene's value that `decode_gene` turns into this choice."""
        return choice

    def families(self, axis: AxisT | None, depth: int, ends: list[Any]) -> Families:
        """Return hand-made archs with this operator, by the name of the family.

        Args:
            axis: The axis of the space, or None.
            depth: Number of blocks.
            ends: This operator's counters after the last block, of all archs of the space.
        """
        return {}

    # --- text for reports and plots

    @abstractmethod
    def describe(self, choice: ChoiceT) -> str:
        """Describe a choice for a model card; may be empty."""

    def label(self, before: Tokens, after: Tokens, choice: ChoiceT) -> str:
        """Format a choice (not the plain one) in short lines, for the plot of an arch."""
        return self.text(choice)


def place_runs(axis: Axis | None, length: int, depth: int) -> Iterator[Placement]:
    """Yield archs with runs of `length` equal choices and a plain block between.

    The first run begins at any block but block 0; the caller drops choices outside the axis.
    """
    for choice in axis.choices if axis else ():
        for first in range(1, depth):
            blocks = (i for i in range(first, depth) if (i - first) % (length + 1) < length)
            yield dict.fromkeys(blocks, choice)


def parse_blocks(section: Reader, depth: int, first: int) -> tuple[int, ...]:
    """Read the blocks of a section in ascending order; "all" is every block from `first` on."""
    if section.value == "all":
        return tuple(range(first, depth))
    blocks = section.distinct(lambda each: each.integer(0, depth - 1))
    if min(blocks) < first:
        raise section.error(f"block {min(blocks)} can never make this choice; the first is {first}")
    return tuple(sorted(blocks))


def _plain(value: Any) -> Any:
    return [_plain(each) for each in value] if isinstance(value, tuple) else value
