"""Archs as genes: a fixed, flat set of categorical values, so that any sampler can propose them.

Every assignment decodes to an arch of the space: left to right, a choice that a rule forbids falls
back to the plain one. Every arch of the space is the decoding of its encoding.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from space.arch import Arch, BlockArch, Pool
from space.errors import InputError, near, shown
from space.rules import broken
from space.tokens import State, advance, start

if TYPE_CHECKING:
    from space.space import SearchSpace

NONE = "none"


class Genes:
    """The genes of a space: `pool.3`, `skip.3`, `attention.3` for each block that has a choice.

    Values are strings: `avg2d:10x10` and `conv1d/2`; `0.5:map`; `own` and `shared`; `none`.
    """

    def __init__(self, space: SearchSpace) -> None:
        self.space = space

    @cached_property
    def categories(self) -> dict[str, tuple[str, ...]]:
        """The values of each gene; the first is the plain choice."""
        return {gene: tuple(values) for gene, values in self._values.items()}

    @cached_property
    def _values(self) -> dict[str, dict[str, object]]:
        share, skip = self.space.share, self.space.skip
        genes: dict[str, dict[str, object]] = {}
        for i, choices in enumerate(self.space.graph.choices()):
            # A pooling that no arch has here would be a value that always decodes to none.
            pools = dict.fromkeys(block.pool for _, block in choices if block.pool)
            if pools:
                genes[f"pool.{i}"] = {NONE: None, **{str(pool): pool for pool in pools}}
            if skip and i in skip.blocks:
                pairs = [(ratio, name) for ratio in skip.ratios for name in skip.selectors]
                named = {f"{ratio}:{name}": (ratio, name) for ratio, name in pairs}
                genes[f"skip.{i}"] = {NONE: None, **named}
            if share and i in share.blocks:
                genes[f"attention.{i}"] = {"own": "own", "shared": "shared"}
        return genes

    def decode(self, genes: Mapping[str, str]) -> Arch:
        """The canonical arch of an assignment; a gene that is left out takes its plain value.

        Pooling wins over skipping. A block that asks to skip right after a run's block goes on
        with that run, at its ratio, where `max_run` allows, and else sees all tokens.

        Raises:
            InputError: a gene or a value that the space does not have.
        """
        for gene, value in genes.items():
            if gene not in self._values:
                raise InputError(f"unknown gene {shown(gene)}{near(gene, list(self._values))}")
            if value not in self._values[gene]:
                known = ", ".join(self._values[gene])
                raise InputError(f"{gene}: must be one of {known}, got {shown(value)}")
        state, blocks = start(self.space.shape), []
        running = 0.0
        for i in range(self.space.shape.depth):
            block = self._block(i, state, genes, running)
            running = block.skip
            state = advance(state, block)
            blocks.append(block)
        return Arch(tuple(blocks))

    def _block(self, i: int, state: State, genes: Mapping[str, str], running: float) -> BlockArch:
        """The choice of block `i`; `running` is the ratio of the run that it may go on with."""

        def value(axis: str) -> object:
            gene = f"{axis}.{i}"
            return self._values[gene][genes[gene]] if gene in genes else None

        block = BlockArch()
        pool, skip = value("pool"), value("skip")
        if isinstance(pool, Pool):
            block = self._allowed(i, state, block, BlockArch(pool=pool))
        if isinstance(skip, tuple) and block.pool is None:
            ratio, selector = (running, "map") if state.run else skip
            block = self._allowed(i, state, block, BlockArch(skip=ratio, selector=selector))
        if value("attention") == "shared":
            shared = BlockArch(block.pool, block.skip, block.selector, "shared")
            block = self._allowed(i, state, block, shared)
        return block

    def _allowed(self, i: int, state: State, plain: BlockArch, block: BlockArch) -> BlockArch:
        block = self.space.canonical_block(state, block)
        return plain if broken(i, state, block, self.space.limits) else block

    def encode(self, arch: Arch) -> dict[str, str]:
        """The genes of `arch`, which decode to its canonical form.

        Raises:
            InputError: the arch is not in the space.
        """
        reasons = self.space.violations(arch)
        if reasons:
            raise InputError(f"the arch is not in the space: {reasons[0]}")
        genes = {gene: next(iter(values)) for gene, values in self._values.items()}
        state = start(self.space.shape)
        for i, block in enumerate(self.space.canonical(arch).blocks):
            if block.pool is not None:
                genes[f"pool.{i}"] = str(block.pool)
            if block.skip:
                # Inside a run the selector counts for nothing: the first that is listed will do.
                wanted = (block.skip, block.selector)
                skips = self._values[f"skip.{i}"].items()
                named = (name for name, pair in skips if pair and (state.run or pair == wanted))
                genes[f"skip.{i}"] = next(named)
            if block.shared:
                genes[f"attention.{i}"] = "shared"
            state = advance(state, block)
        return genes
