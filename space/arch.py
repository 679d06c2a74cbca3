"""An arch: one choice per transformer block.

Two independent axes per block: which tokens it processes (pool, skip) and how it attends (own or
shared maps). Only single values are checked here; `space.operators` has the validity rules.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Literal, get_args

from space.utils.errors import InputError, check_one_of, is_integer, is_number, shown

Grid = tuple[int, int]
PoolKind = Literal["avg2d", "max2d", "conv2d", "avg1d", "max1d", "conv1d"]
Selector = Literal["map", "cls", "random"]
Attention = Literal["own", "shared"]

POOL_KINDS: tuple[PoolKind, ...] = get_args(PoolKind)
SELECTORS: tuple[Selector, ...] = get_args(Selector)
ATTENTIONS: tuple[Attention, ...] = get_args(Attention)


@dataclass(frozen=True, slots=True)
class Pool:
    """Token pooling before a block (PSViT, arXiv 2108.03428).

    2-D kinds pool the token grid to `grid` (height, width); 1-D kinds pool the row-major sequence
    of P patch tokens to ceil(P / stride). Exactly one of `grid` and `stride` is set.

    Raises:
        InputError: The kind is unknown, or grid or stride do not fit it.
    """

    kind: PoolKind
    grid: Grid | None = None
    stride: int | None = None

    def __post_init__(self) -> None:
        check_one_of("pool kind", self.kind, POOL_KINDS)
        if self.kind.endswith("2d"):
            expected = "grid=(height, width) of positive integers and no stride"
            valid = is_grid(self.grid) and self.stride is None
        elif self.kind == "conv1d":
            expected = "stride=2 and no grid"
            valid = is_integer(self.stride) and self.stride == 2 and self.grid is None
        else:
            expected = "a stride of at least 2 and no grid"
            valid = is_integer(self.stride) and self.stride >= 2 and self.grid is None
        if not valid:
            actual = f"grid={shown(self.grid)}, stride={shown(self.stride)}"
            raise InputError(f"pool {self.kind} needs {expected}, got {actual}")

    @property
    def learned(self) -> bool:
        """Whether the kind is a depthwise convolution, which has weights."""
        return self.kind in ("conv2d", "conv1d")

    def __str__(self) -> str:
        if self.grid is not None:
            return f"{self.kind}:{self.grid[0]}x{self.grid[1]}"
        return f"{self.kind}/{self.stride}"


@dataclass(frozen=True, slots=True)
class BlockArch:
    """The choice for one block; the default is the backbone's block, unchanged.

    Args:
        pool: Token pooling before the block.
        skip: Share of the patch tokens that bypass the block (ToSA, arXiv 2406.08816), in [0, 1).
        selector: Selector that scores the tokens; it matters in the first block of a run only.
        attention: "shared" reuses the attention maps of the block before (PSViT).
        extra: Choices of user-registered operators (`space.operators.registry.register`), by name.

    Raises:
        InputError: A value has the wrong type or is out of range.
    """

    pool: Pool | None = None
    skip: float = 0.0
    selector: Selector = "map"
    attention: Attention = "own"
    extra: tuple[tuple[str, Hashable], ...] = ()

    def __post_init__(self) -> None:
        if self.pool is not None and not isinstance(self.pool, Pool):
            raise InputError(f"pool must be a Pool or None, got {shown(self.pool)}")
        if not is_number(self.skip) or not 0 <= self.skip < 1:
            raise InputError(f"skip must lie in [0, 1), got {shown(self.skip)}")
        check_one_of("selector", self.selector, SELECTORS)
        check_one_of("attention", self.attention, ATTENTIONS)

    def __repr__(self) -> str:
        # Checkpoints identify a training by this text, so unset fields must not appear in it.
        extra = f", extra={self.extra!r}" if self.extra else ""
        return (
            f"BlockArch(pool={self.pool!r}, skip={self.skip!r}, selector={self.selector!r}, "
            f"attention={self.attention!r}{extra})"
        )

    @property
    def shared(self) -> bool:
        return self.attention == "shared"


@dataclass(frozen=True, slots=True)
class Arch:
    """One choice for each block of a backbone; immutable and hashable.

    Raises:
        InputError: There are no blocks, or a member is not a BlockArch.
    """

    blocks: tuple[BlockArch, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "blocks", tuple(self.blocks))
        if not self.blocks or not all(isinstance(block, BlockArch) for block in self.blocks):
            raise InputError(f"blocks must be one BlockArch or more, got {shown(self.blocks)}")

    @property
    def depth(self) -> int:
        return len(self.blocks)

    @classmethod
    def full(cls, depth: int) -> Arch:
        """Return the full arch: all tokens and own attention in each of `depth` blocks."""
        return cls((BlockArch(),) * depth)


def is_grid(grid: object) -> bool:
    """Return whether `grid` is a tuple of a positive height and width."""
    return (
        isinstance(grid, tuple)
        and len(grid) == 2
        and all(is_integer(side) and side >= 1 for side in grid)
    )
