"""Latency tables: latencies measured on a device, for searches on any machine.

Schema tokennas/latency/1. The required key `shape` is last, so that a truncated file is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from search.latency.conditions import Conditions
from search.latency.fit import Error
from search.latency.terms import count_terms, list_terms
from space.arch import Arch
from space.arch_file import block_to_dict, read_blocks
from space.operators.base import Term
from space.shape import BackboneShape
from space.space import SearchSpace
from space.utils.errors import InputError, check_name, shown
from space.utils.reader import Reader, open_yaml
from space.utils.yaml_file import write_yaml

SCHEMA = "tokennas/latency/1"
KEYS = ("schema", "name", "conditions", "full_ms", "terms", "measured", "shape")


@dataclass(frozen=True)
class MeasuredArch:
    """A measured arch.

    Args:
        arch: Canonical arch.
        ms: Median milliseconds of a batch.
        spread: Interquartile range, relative to the median.
        held_out: Whether the arch had no part in the fit.
    """

    arch: Arch
    ms: float
    spread: float
    held_out: bool


@dataclass(frozen=True)
class LatencyTable:
    """Milliseconds of every term in a space, on one device.

    Args:
        name: Name of the device in budgets: `latency_ms@NAME`.
        conditions: Conditions of the measurements.
        full_ms: Measured milliseconds of the full network.
        error: Prediction error on held-out archs; None where it is unknown.
        terms: Milliseconds of each term.
        measured: Measured archs.
        shape: Shape of the backbone.
    """

    name: str
    conditions: Conditions
    full_ms: float
    error: Error | None
    terms: dict[Term, float]
    measured: tuple[MeasuredArch, ...]
    shape: BackboneShape

    def predict(self, arch: Arch) -> float:
        """Predict the milliseconds of a batch.

        Raises:
            InputError: The arch does not fit the backbone, or the table lacks one of its terms.
        """
        counts = count_terms(arch, self.shape)
        for term in counts:
            if term not in self.terms:
                raise InputError(f"latency {self.name}: no entry for {term}")
        return sum(count * self.terms[term] for term, count in counts.items())

    def find_difference(self, shape: BackboneShape) -> str | None:
        """Describe in what the measured backbone or its head differs from `shape`, if at all."""
        for field in fields(BackboneShape):
            actual, expected = getattr(self.shape, field.name), getattr(shape, field.name)
            if actual == expected:
                continue
            if field.name != "head":
                return f"backbone: {field.name} {actual} instead of {expected}"
            # Another number of classes takes a negligible time.
            if self.shape.has_dense_head or shape.has_dense_head:
                return f"head: {actual} instead of {expected}"
        return None

    def check(self, space: SearchSpace, source: str) -> None:
        """Check that the table covers the archs of a space.

        Args:
            space: The space.
            source: File or name of the table, for messages.

        Raises:
            InputError: The table is of another backbone or head, lacks a term, or has no `error`.
        """
        if self.error is None:
            raise InputError(
                f"{source}: lacks the `error` of its predictions; "
                "measure again: tokennas profile CONFIG"
            )
        if difference := self.find_difference(space.shape):
            raise InputError(
                f"{source}: of another {difference}; measure this one: tokennas profile CONFIG"
            )
        missing = [term for term in list_terms(space) if term not in self.terms]
        if missing:
            raise InputError(
                f"{source}: has no time for {len(missing)} operations of this space, such as "
                f"{missing[0]}; measure again: tokennas profile CONFIG"
            )

    def save(self, path: Path) -> None:
        """Write the file.

        Raises:
            InputError: The file cannot be written.
        """
        write_yaml(
            path,
            {
                "schema": SCHEMA,
                "name": self.name,
                "conditions": asdict(self.conditions),
                "full_ms": self.full_ms,
                "error": None if self.error is None else asdict(self.error),
                "terms": [[t.operator, t.tokens, t.left, ms] for t, ms in self.terms.items()],
                "measured": [
                    {
                        "ms": each.ms,
                        "spread": each.spread,
                        "held_out": each.held_out,
                        "blocks": [block_to_dict(block) for block in each.arch.blocks],
                    }
                    for each in self.measured
                ],
                "shape": self.shape.to_dict(),
            },
        )

    @classmethod
    def load(cls, path: str | Path) -> LatencyTable:
        """Read the file.

        Raises:
            InputError: The file is invalid.
        """
        reader = open_yaml(path, SCHEMA)
        values = reader.mapping(*KEYS, error=None)
        shape = BackboneShape.read(values["shape"])
        terms = dict(map(_read_term, values["terms"].items()))
        archs = values["measured"].items(least=1)
        return cls(
            values["name"].make(check_name, values["name"].value),
            _read_conditions(values["conditions"]),
            values["full_ms"].positive(),
            None if values["error"].value is None else _read_error(values["error"]),
            terms,
            tuple(_read_measured(each, shape, terms) for each in archs),
            shape,
        )


def _read_conditions(reader: Reader) -> Conditions:
    # Earlier versions wrote the clock too.
    values = reader.mapping("device", "batch", "dtype", "compiled", "libraries", clock_mhz=None)
    return reader.make(
        Conditions,
        values["device"].text(),
        values["batch"].integer(),
        values["dtype"].value,
        values["compiled"].flag(),
        values["libraries"].text(),
    )


def _read_error(reader: Reader) -> Error:
    values = reader.mapping("mean", "worst", "kendall_tau", "archs")
    return Error(
        values["mean"].number(),
        values["worst"].number(),
        values["kendall_tau"].number(least=-1),
        values["archs"].integer(),
    )


def _read_term(reader: Reader) -> tuple[Term, float]:
    values = reader.items()
    if len(values) != 4:
        raise reader.error(f"must be [operator, tokens, left, ms], got {shown(reader.value)}")
    operator, tokens, left, ms = values
    return Term(operator.text(), tokens.integer(), left.integer()), ms.number()


def _read_measured(
    reader: Reader, shape: BackboneShape, terms: Mapping[Term, float]
) -> MeasuredArch:
    values = reader.mapping("ms", "spread", "held_out", "blocks")
    arch = read_blocks(values["blocks"])
    for term in values["blocks"].make(count_terms, arch, shape):
        if term not in terms:
            raise values["blocks"].error(f"{term} is not among the terms of this table")
    return MeasuredArch(
        arch, values["ms"].positive(), values["spread"].number(), values["held_out"].flag()
    )
