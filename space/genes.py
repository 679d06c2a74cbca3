"""Archs as genes: a fixed, flat set of categorical parameters that any sampler can suggest.

Every assignment decodes to an arch of the space: from left to right, a forbidden choice falls back
to the plain one. Every arch of the space can be encoded.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from space.arch import Arch
from space.operators.registry import operator, operators
from space.operators.walk import PLAIN, canonical_steps, start, turns
from space.state import State
from space.utils.errors import InputError, near, shown

if TYPE_CHECKING:
    from space.space import SearchSpace


class Genes:
    """The genes of a space: `pool.3`, `skip.3`, `attention.3` for each block that has a choice.

    Values are strings: `avg2d:10x10` and `conv1d/2`; `0.5:map`; `own` and `shared`; `none`.
    """

    def __init__(self, space: SearchSpace) -> None:
        self.space = space

    @cached_property
    def categories(self) -> dict[str, tuple[str, ...]]:
        """The values of each gene, the plain choice first."""
        return {gene: tuple(values) for gene, values in self._values.items()}

    @cached_property
    def _values(self) -> dict[str, dict[str, Any]]:
        genes: dict[str, dict[str, Any]] = {}
        for i, here in enumerate(self.space.graph.choices()):
            for name, axis in self.space.axes.items():
                if i not in axis.blocks:
                    continue
                each = operator(name)
                found = dict.fromkeys(each.choice(block) for _, block in here)
                choices = each.gene_choices(axis, [c for c in found if c != each.plain])
                if choices:
                    every = (each.plain, *choices)
                    genes[f"{each.field}.{i}"] = {each.text(choice): choice for choice in every}
        return genes

    def decode(self, genes: Mapping[str, str]) -> Arch:
        """Decode an assignment to a canonical arch; a missing gene takes its plain value.

        Pooling wins over skipping. A block that skips right after a block of a run continues the
        run, at its ratio, where `max_run` allows it; else it sees all tokens.

        Raises:
            InputError: The space does not have a gene or a value.
        """
        values, axes = self._values, self.space.axes
        for gene, value in genes.items():
            if gene not in values:
                raise InputError(f"unknown gene {shown(gene)}{near(gene, list(values))}")
            if value not in values[gene]:
                known = ", ".join(values[gene])
                raise InputError(f"{gene}: must be one of {known}, got {shown(value)}")
        state, blocks = start(self.space.shape), []
        for i in range(self.space.shape.depth):
            block, tokens, counters = PLAIN, state.tokens, []
            for each, own in zip(operators(), state.own, strict=True):
                gene, choice = f"{each.field}.{i}", each.plain
                asked = values[gene][genes[gene]] if gene in genes else each.plain
                if asked != each.plain and (block is PLAIN or each.kind == "attention"):
                    axis = axes[each.name]
                    wanted = each.decoded(tokens, own, asked, axis)
                    wanted = each.canonical(tokens, own, wanted, axis)
                    if each.violation(i, tokens, own, wanted, axis) is None:
                        choice = wanted
                if choice != each.plain:
                    block = each.put(block, choice)
                tokens, counter = each.advance(tokens, own, choice)
                counters.append(counter)
            blocks.append(block)
            state = State(tokens, tuple(counters))
        return Arch(tuple(blocks))

    def encode(self, arch: Arch) -> dict[str, str]:
        """Encode `arch` to genes, which decode to its canonical form.

        Raises:
            InputError: The arch is not in the space.
        """
        reasons = self.space.violations(arch)
        if reasons:
            raise InputError(f"the arch is not in the space: {reasons[0]}")
        genes = {gene: next(iter(values)) for gene, values in self._values.items()}
        steps = canonical_steps(arch, self.space.shape, self.space.axes)
        for i, (state, block) in enumerate(steps):
            for each, tokens, own, choice in turns(state, block):
                if choice != each.plain:
                    chosen = each.encoded(tokens, own, choice, self.space.axes[each.name])
                    genes[f"{each.field}.{i}"] = each.text(chosen)
        return genes
