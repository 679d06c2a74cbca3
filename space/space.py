"""The search space: all archs that the user's choices and the validity rules allow."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property, partial
from itertools import product
from typing import Any

import numpy as np

from space.arch import Arch
from space.cost import MacCost
from space.counting.bands import Bands
from space.counting.graph import Graph
from space.operators.base import Axis
from space.operators.registry import operator, operators
from space.operators.walk import (
    PLAIN,
    advance,
    block_choices,
    broken_rule,
    canonical_steps,
    initial_state,
    turns,
    violations,
)
from space.rules import NO_RULES, RULES, Rules
from space.shape import BackboneShape
from space.utils.reader import Reader


@dataclass(frozen=True)
class SearchSpace:
    """All archs that axes and rules allow; an operator without an axis is not searched.

    Args:
        shape: Shape of the backbone.
        axes: The allowed choices, by operator name.
        rules: What every arch must keep.

    Raises:
        InputError: An operator of the axes is not registered in this process.
    """

    shape: BackboneShape
    axes: Mapping[str, Axis] = field(default_factory=dict)
    rules: Rules = NO_RULES

    def __post_init__(self) -> None:
        for name in self.axes:
            operator(name)  # raises if the name is unknown
        axes = {each.name: self.axes[each.name] for each in operators() if each.name in self.axes}
        object.__setattr__(self, "axes", axes)

    def __hash__(self) -> int:
        return hash((self.shape, *self.axes.items(), self.rules))

    @classmethod
    def from_dict(
        cls, values: Mapping[str, Any], shape: BackboneShape, rules: Rules = NO_RULES
    ) -> SearchSpace:
        """Build a space from the `space` section of a config.

        Args:
            values: The section.
            shape: Shape of the backbone.
            rules: Rules of the task, which hold in addition to those of the section.

        Raises:
            InputError: A value is invalid, or the rules forbid all choices of an operator; names
                place and value.
        """
        reader = Reader(values, ("space",))
        space = cls.read(reader, shape, rules)
        for name, section in reader.entries().items():
            broken = space._broken_rules(name) if name in space.axes else []
            if broken and len(broken) == len(space.axes[name].choices):
                raise section.error(
                    f"no choice of it keeps the rules of the space: {broken[0]}; list another "
                    "choice, or leave the section out"
                )
        return space

    @classmethod
    def read(cls, reader: Reader, shape: BackboneShape, rules: Rules = NO_RULES) -> SearchSpace:
        """Read a space from the `space` section of a file.

        Unlike `from_dict`, takes an operator all of whose choices the rules forbid.
        """
        sections = reader.some_of(*sorted(each.name for each in operators()), RULES)
        if RULES in sections:
            rules |= Rules.read(sections.pop(RULES))
        axes = {name: operator(name).read_axis(sections[name], shape) for name in sections}
        return cls(shape, axes, rules)

    def to_dict(self) -> dict[str, Any]:
        """Return the `space` section of this space."""
        sections = {name: axis.to_dict() for name, axis in self.axes.items()}
        if self.rules:
            sections[RULES] = self.rules.to_dict()
        return dict(sorted(sections.items()))

    def left_out(self) -> list[str]:
        """Return a line for each operator some of whose choices the rules forbid."""
        broken = {name: self._broken_rules(name) for name in self.axes}
        return [
            f"space.{name}: no arch has these choices: {'; '.join(reasons)}"
            for name, reasons in broken.items()
            if reasons
        ]

    def _broken_rules(self, name: str) -> list[str]:
        """Return why the rules forbid choices of an axis, for each of these choices."""
        each, axis, state = operator(name), self.axes[name], initial_state(self.shape)
        plain = next(turn for turn in turns(state, PLAIN) if turn.operator is each)
        listed = (each.canonical(plain.tokens, plain.counter, c, axis) for c in axis.choices)
        reasons = (broken_rule(plain._replace(choice=choice), self.rules) for choice in listed)
        return [reason for reason in reasons if reason]

    def largest(self) -> Arch:
        """Return the full arch: no pooling, no skipping, own attention everywhere."""
        return Arch.full(self.shape.depth)

    def smallest(self) -> Arch:
        """Return the arch with the fewest MACs; ties go to the first in gene order."""
        return self._smallest

    @cached_property
    def _smallest(self) -> Arch:
        return self.graph.cheapest(MacCost(self.shape))

    def size(self) -> int:
        """Count the distinct archs exactly."""
        return self.graph.size

    def sample(self, rng: np.random.Generator, macs: tuple[float, float] | None = None) -> Arch:
        """Sample an arch uniformly from the space.

        Args:
            rng: Random generator.
            macs: Range of MACs, both ends included; None for the whole space.

        Raises:
            ValueError: No arch has MACs inside the band.
        """
        if macs is None:
            return self.graph.sample(rng)
        return self.mac_bands.sample(rng, macs[0], macs[1])

    @cached_property
    def graph(self) -> Graph:
        """The layered graph of the space, whose paths are its archs."""
        depth, axes = self.shape.depth, self.axes
        # Blocks under the same axes have the same choices; only block 0 has rules of its own.
        kinds = [(i == 0, *(i in axis.blocks for axis in axes.values())) for i in range(depth)]
        alike = [kinds.index(kind) for kind in kinds]
        choices = cache(partial(block_choices, axes=axes, rules=self.rules))
        return Graph.build(
            initial_state(self.shape), depth, lambda i, state: choices(alike[i], state)
        )

    @cached_property
    def mac_bands(self) -> Bands:
        """The archs by their MACs, to count and sample them inside a band."""
        return Bands(self.graph, MacCost(self.shape))

    @cached_property
    def kernel_bands(self) -> dict[tuple[int, str], Bands]:
        """The archs that use a pooling kernel, by the kernel's block and name."""
        bands, choices = {}, self.graph.list_choices()
        for name, axis in self.axes.items():
            each = operator(name)
            kernels = sorted(filter(None, {*map(each.kernel, axis.choices)}))
            for i, kernel in product(axis.blocks, kernels):
                blocks = {b for _, b in choices[i] if each.kernel(each.choice(b)) == kernel}
                if blocks:
                    subgraph = self.graph.restrict(i, blocks)
                    bands[i, kernel] = Bands(subgraph, MacCost(self.shape))
        return bands

    def canonical(self, arch: Arch) -> Arch:
        """Return the canonical form, equal for archs that compute the same; checks no rules."""
        return Arch(tuple(block for _, block in canonical_steps(arch, self.shape, self.axes)))

    def violations(self, arch: Arch) -> list[str]:
        """Return why the canonical form of `arch` is not in the space; empty if it is."""
        if arch.depth != self.shape.depth:
            return [f"the arch has {arch.depth} blocks, the backbone {self.shape.depth}"]
        fields = {each.field for each in operators()}
        unknown = {name for block in arch.blocks for name, _ in block.extra} - fields
        if unknown:
            return [f"operator {name!r} is not registered in this process" for name in unknown]
        return [
            f"blocks[{i}]: {reason}"
            for i, step in enumerate(canonical_steps(arch, self.shape, self.axes))
            for reason in violations(i, *step, self.axes, self.rules)
        ]

    def __contains__(self, arch: Arch) -> bool:
        return not self.violations(arch)

    def identity(self, arch: Arch) -> str:
        """Return a hash of what the arch computes, equal for archs that compute the same."""
        effects = []
        for before, block in canonical_steps(arch, self.shape, self.axes):
            after = advance(before, block)
            effects.append(
                [part for each in operators() for part in each.effect(after, each.choice(block))]
            )
        return hashlib.sha256(json.dumps(effects).encode()).hexdigest()[:16]

    def __reduce__(self) -> tuple[Any, ...]:
        # Leaves out cached properties; unpickling fails where an operator is not registered.
        return SearchSpace, (self.shape, self.axes, self.rules)
