"""Archs as genes: a fixed, flat set of categorical parameters that any sampler can suggest.

Every assignment of values decodes to an arch of the space: block by block, a choice that the rules
forbid is replaced by the plain one. Every arch of the space can be encoded.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from space.arch import Arch
from space.operators.registry import operator, operators
from space.operators.walk import PLAIN, Turn, broken_rule, canonical_steps, initial_state, turns
from space.state import State
from space.utils.errors import InputError, near, shown

if TYPE_CHECKING:
    from space.space import SearchSpace


class Genes:
    """The genes of a space: `pool.3`, `skip.3`, `attention.3` for each block with a choice.

    Values are strings, such as `avg2d:10x10`, `conv1d/2`, `0.5:map`, `own`, `shared` and `none`.
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
        for i, pairs in enumerate(self.space.graph.list_choices()):
            for name, axis in self.space.axes.items():
                if i not in axis.blocks:
                    continue
                each = operator(name)
                possible = dict.fromkeys(each.choice(block) for _, block in pairs)
                choices = each.gene_choices(axis, [c for c in possible if c != each.plain])
                if choices:
                    with_plain = (each.plain, *choices)
                    genes[f"{each.field}.{i}"] = {each.text(c): c for c in with_plain}
        return genes

    def decode(self, genes: Mapping[str, str]) -> Arch:
        """Decode an assignment to a canonical arch; a missing gene takes its plain value.

        Pooling wins over skipping. A block that skips right after a block of a run continues the
        run, at its ratio, where `max_run` allows it; else it sees all tokens.

        Raises:
            InputError: The space has no such gene, or the gene no such value.
        """
        values, axes, rules = self._values, self.space.axes, self.space.rules or None
        for gene, value in genes.items():
            if gene not in values:
                raise InputError(f"unknown gene {shown(gene)}{near(gene, list(values))}")
            if value not in values[gene]:
                allowed = ", ".join(values[gene])
                raise InputError(f"{gene}: must be one of {allowed}, got {shown(value)}")
        state, blocks = initial_state(self.space.shape), []
        for i in range(self.space.shape.depth):
            block, tokens, counters = PLAIN, state.tokens, []
            for each, counter in zip(operators(), state.counters, strict=True):
                gene, choice = f"{each.field}.{i}", each.plain
                value = values[gene][genes[gene]] if gene in genes else choice
                if value != choice and (block is PLAIN or each.kind == "attention"):
                    axis = axes[each.name]
                    decoded = each.decode_gene(tokens, counter, value, axis)
                    decoded = each.canonical(tokens, counter, decoded, axis)
                    reason = each.violation(i, tokens, counter, decoded, axis)
                    if reason is None and rules is not None:
                        reason = broken_rule(Turn(each, tokens, counter, decoded), rules)
                    if reason is None:
                        choice = decoded
                if choice != each.plain:
                    block = each.put(block, choice)
                tokens, count = each.advance(tokens, counter, choice)
                counters.append(count)
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
            for each, tokens, counter, choice in turns(state, block):
                if choice != each.plain:
                    axis = self.space.axes[each.name]
                    value = each.encode_gene(tokens, counter, choice, axis)
                    genes[f"{each.field}.{i}"] = each.text(value)
        return genes
