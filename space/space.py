"""The compact set of archs that the user's choices and the validity rules allow."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np

from space.arch import Arch, BlockArch
from space.axes import PoolAxis, ShareAxis, SkipAxis
from space.bands import Bands
from space.cost import AdditiveCost, mac_cost
from space.graph import Graph
from space.reader import Reader
from space.rules import Limits, broken
from space.shape import BackboneShape
from space.tokens import State, advance, effective, kept, pooled, start, starts_run


@dataclass(frozen=True)
class SearchSpace:
    """All archs that the axes allow; an axis that is None is not searched.

    Args:
        shape: the backbone that the archs belong to.
        pool, share, skip: what may be chosen where.
    """

    shape: BackboneShape
    pool: PoolAxis | None = None
    share: ShareAxis | None = None
    skip: SkipAxis | None = None

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], shape: BackboneShape) -> SearchSpace:
        """Build a space from the `space` section of a config.

        Raises:
            InputError: naming the place, the value and what would be right.
        """
        return cls.read(Reader(values, ("space",)), shape)

    @classmethod
    def read(cls, reader: Reader, shape: BackboneShape) -> SearchSpace:
        """The space that a mapping of a file describes."""
        kinds: dict[str, Any] = {"pool": PoolAxis, "share": ShareAxis, "skip": SkipAxis}
        given = reader.mapping(**dict.fromkeys(kinds))
        axes = {
            name: kinds[name].read(each, shape)
            for name, each in given.items()
            if each.value is not None
        }
        return cls(shape, **axes)

    def to_dict(self) -> dict[str, Any]:
        """The `space` section that gives this space."""
        axes = {"pool": self.pool, "share": self.share, "skip": self.skip}
        return {key: axis.to_dict() for key, axis in axes.items() if axis is not None}

    @cached_property
    def limits(self) -> Limits:
        return Limits(
            pools=self.pool.max_pools if self.pool else 0,
            skip_run=self.skip.max_run if self.skip else 0,
            share_run=self.share.max_run if self.share else 0,
        )

    def largest(self) -> Arch:
        """The full arch: no pooling, no skipping, own attention everywhere."""
        return Arch.full(self.shape.depth)

    def smallest(self) -> Arch:
        """The arch of fewest MACs; ties go to the first choice in gene order."""
        return self._smallest

    @cached_property
    def _smallest(self) -> Arch:
        return self.cheapest(mac_cost(self.shape))

    def cheapest(self, cost: AdditiveCost) -> Arch:
        """The arch of least `cost`; ties go to the first choice in gene order."""
        return self.graph.cheapest(cost)

    def size(self) -> int:
        """The exact number of distinct archs."""
        return self.graph.size

    def sample(self, rng: np.random.Generator, macs: tuple[float, float] | None = None) -> Arch:
        """Draw an arch uniformly: from the whole space, or from those with MACs in [low, high].

        Raises:
            ValueError: no arch has MACs inside the band.
        """
        if macs is None:
            return self.graph.sample(rng)
        return self.mac_bands.sample(rng, macs[0], macs[1])

    @cached_property
    def graph(self) -> Graph:
        return Graph(self)

    @cached_property
    def mac_bands(self) -> Bands:
        """The archs by their MACs: drawing and counting inside a band."""
        return Bands(self.graph, mac_cost(self.shape))

    @cached_property
    def learned_bands(self) -> dict[tuple[int, str], Bands]:
        """For each pooling kernel, by block and kind, the archs that use it, by their MACs."""
        if self.pool is None:
            return {}
        kinds = sorted({pool.kind for pool in self.pool.pools if pool.learned})
        parts = {
            (i, kind): self.graph.through(i, partial(_pools_by, kind))
            for i in self.pool.blocks
            for kind in kinds
        }
        cost = mac_cost(self.shape)
        return {key: Bands(part, cost) for key, part in parts.items() if part is not None}

    def canonical(self, arch: Arch) -> Arch:
        """The one form of all archs that compute the same; rules are not looked at."""
        state, blocks = start(self.shape), []
        for block in arch.blocks:
            blocks.append(self.canonical_block(state, block))
            state = advance(state, blocks[-1])
        return Arch(tuple(blocks))

    def canonical_block(self, state: State, block: BlockArch) -> BlockArch:
        """`block` at `state` without what changes nothing, and by the smallest of equal numbers."""
        block = effective(state, block)
        pool, skip, tokens = block.pool, block.skip, state.tokens
        if pool is not None:
            tokens = pooled(state, pool)[1]
            if pool.stride is not None and self.pool and pool.kind in self.pool.kinds:
                equal = [s for s in self.pool.strides if -(-state.tokens // s) == tokens]
                pool = replace(pool, stride=min(equal, default=pool.stride))
        if skip and self.skip:
            k = kept(skip, tokens)
            ratios = [ratio for ratio in self.skip.ratios if kept(ratio, tokens) == k]
            skip = min(ratios, default=skip)
        if (pool, skip) == (block.pool, block.skip):
            return block
        return replace(block, pool=pool, skip=skip)

    def choices(self, i: int, state: State) -> tuple[BlockArch, ...]:
        """The canonical choices that block `i` has at `state`, in gene order."""
        found: dict[BlockArch, None] = {}
        for listed in self.listed(i):
            block = self.canonical_block(state, listed)
            if not broken(i, state, block, self.limits):
                found[block] = None
        return tuple(found)

    def listed(self, i: int) -> Iterator[BlockArch]:
        """What the axes list for block `i`, rules aside; a block that pools does nothing else."""
        skips = [BlockArch()]
        if self.skip and i in self.skip.blocks:
            skips += [
                BlockArch(skip=ratio, selector=selector)
                for ratio in self.skip.ratios
                for selector in self.skip.selectors
            ]
        for block in skips:
            yield block
            if self.share and i in self.share.blocks:
                yield replace(block, attention="shared")
        if self.pool and i in self.pool.blocks:
            yield from (BlockArch(pool=pool) for pool in self.pool.pools)

    def violations(self, arch: Arch) -> list[str]:
        """Why `arch`, in canonical form, is not in the space; empty if it is."""
        if arch.depth != self.shape.depth:
            return [f"the arch has {arch.depth} blocks, the backbone {self.shape.depth}"]
        state, reasons = start(self.shape), []
        for i, block in enumerate(self.canonical(arch).blocks):
            found = broken(i, state, block, self.limits) + self._unlisted(i, state, block)
            reasons += [f"blocks[{i}]: {reason}" for reason in found]
            state = advance(state, block)
        return reasons

    def _unlisted(self, i: int, state: State, block: BlockArch) -> list[str]:
        reasons = []
        if block.pool is not None and not (
            self.pool and i in self.pool.blocks and block.pool in self.pool.pools
        ):
            reasons.append(f"the space lists no pool {block.pool} here")
        if block.skip:
            selectors = self.skip.selectors if self.skip else ()
            if not (self.skip and i in self.skip.blocks and block.skip in self.skip.ratios):
                reasons.append(f"the space lists no skip {block.skip} here")
            elif starts_run(state, block) and block.selector not in selectors:
                reasons.append(f"the space lists no selector {block.selector} here")
        if block.shared and not (self.share and i in self.share.blocks):
            reasons.append("the space lists no shared attention here")
        return reasons

    def __contains__(self, arch: Arch) -> bool:
        return not self.violations(arch)

    def identity(self, arch: Arch) -> str:
        """A hash of what the canonical form computes (pool, K, selector, attention)."""
        state, effects = start(self.shape), []
        for block in self.canonical(arch).blocks:
            after = advance(state, block)
            pool = block.pool and [block.pool.kind, after.grid, after.tokens]
            effects.append([pool, after.kept, block.selector, block.attention])
            state = after
        return hashlib.sha256(json.dumps(effects).encode()).hexdigest()[:16]

    def __getstate__(self) -> dict[str, Any]:
        """The fields alone: what is derived is worked out again where a pickle arrives."""
        return {name: self.__dict__[name] for name in ("shape", "pool", "share", "skip")}


def _pools_by(kind: str, block: BlockArch) -> bool:
    return block.pool is not None and block.pool.kind == kind
