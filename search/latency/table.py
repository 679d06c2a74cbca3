"""A latency table: what a device was measured to take, carried to where the search runs.

Schema tokennas/latency/1. `shape`, which costs are checked by, stands last: a file that was cut off
is noticed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path

from search.latency.conditions import Conditions
from search.latency.fitting import Error
from search.latency.terms import Term, terms_in, terms_of
from search.reading import Reader
from space.arch import Arch
from space.errors import InputError, shown
from space.files import block_to_dict
from space.shape import BackboneShape, Part
from space.space import SearchSpace
from space.yamlfile import Place, read_yaml, write_yaml

SCHEMA = "tokennas/latency/1"
KEYS = ("schema", "name", "conditions", "full_ms", "error", "terms", "measured", "shape")
MEASURED = ("ms", "spread", "held_out", "blocks")


@dataclass(frozen=True)
class Measured:
    """An arch and what it was measured to take.

    Args:
        arch: canonical.
        ms: milliseconds of a batch, median.
        spread: between the quartiles, as a share of the median.
        held_out: whether it had no part in the fit.
    """

    arch: Arch
    ms: float
    spread: float
    held_out: bool


@dataclass(frozen=True)
class LatencyTable:
    """Milliseconds of every term that the archs of a space have, on one device.

    Args:
        name: of the device, as budgets call it: `latency_ms@NAME`.
        conditions: what was measured on.
        full_ms: the full network, measured beside the others.
        error: of predictions for archs that had no part in the fit; None where nobody knows it.
        terms: milliseconds of each.
        measured: the archs that were measured.
        shape: the backbone.
    """

    name: str
    conditions: Conditions
    full_ms: float
    error: Error | None
    terms: dict[Term, float]
    measured: tuple[Measured, ...]
    shape: BackboneShape

    def predict(self, arch: Arch) -> float:
        """Milliseconds of a batch.

        Raises:
            InputError: the arch does not fit the backbone, or has a term that the table lacks.
        """
        found = terms_of(arch, self.shape)
        for term in found:
            if term not in self.terms:
                raise InputError(f"latency {self.name}: no entry for {term}")
        return sum(count * self.terms[term] for term, count in found.items())

    def check(self, space: SearchSpace, whose: str) -> None:
        """Refuse a table that cannot judge the archs of a space.

        Raises:
            InputError: it is of another backbone, lacks what the space may choose, or does not say
                how far it is off.
        """
        if self.error is None:
            raise InputError(
                f"{whose}: does not say how far its predictions are off (`error`); "
                "measure again: tokennas profile CONFIG"
            )
        # Other data have other classes; what their classifier takes is nothing beside the blocks.
        here, there = (replace(shape, head=Part(0, 0)) for shape in (space.shape, self.shape))
        for field in fields(BackboneShape):
            wanted, found = getattr(here, field.name), getattr(there, field.name)
            if wanted != found:
                raise InputError(
                    f"{whose}: of another backbone: {field.name} {found} instead of {wanted}; "
                    "measure this one: tokennas profile CONFIG"
                )
        missing = [term for term in terms_in(space.graph) if term not in self.terms]
        if missing:
            raise InputError(
                f"{whose}: has no entry for {missing[0]} and {len(missing) - 1} more that this "
                "space may choose; measure it: tokennas profile CONFIG"
            )

    def save(self, path: Path) -> None:
        """Write the file.

        Raises:
            InputError: it cannot be written.
        """
        write_yaml(
            path,
            {
                "schema": SCHEMA,
                "name": self.name,
                "conditions": self.conditions.to_dict(),
                "full_ms": self.full_ms,
                "error": None if self.error is None else self.error.to_dict(),
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
            InputError: file, line, place, value and what would be right.
        """
        document = read_yaml(path)
        document.check_schema(SCHEMA)
        return _Reader(document).table()


class _Reader(Reader):
    """Reads what is a latency table's own."""

    def table(self) -> LatencyTable:
        data = self.mapping((), self.document.data, KEYS)
        if data["schema"] != SCHEMA:
            raise self.document.error(("schema",), f"must be {SCHEMA}, got {shown(data['schema'])}")
        shape = self.at(("shape",), BackboneShape.from_dict, data["shape"])
        listed = enumerate(self.items(("terms",), data["terms"]))
        terms = dict(self.term(("terms", i), each) for i, each in listed)
        measured = self.items(("measured",), data["measured"])
        if not measured:
            raise self.document.error(("measured",), "must be the archs that were measured")
        return LatencyTable(
            self.at(("name",), check_name, data["name"]),
            self.conditions(("conditions",), data["conditions"]),
            self.positive(("full_ms",), data["full_ms"]),
            None if data["error"] is None else self.error(("error",), data["error"]),
            terms,
            tuple(
                self.measured(("measured", i), each, shape, terms)
                for i, each in enumerate(measured)
            ),
            shape,
        )

    def conditions(self, place: Place, value: object) -> Conditions:
        data = self.mapping(place, value, tuple(field.name for field in fields(Conditions)))
        return self.at(place, Conditions, **data)

    def error(self, place: Place, value: object) -> Error:
        data = self.mapping(place, value, tuple(field.name for field in fields(Error)))
        return Error(
            self.number((*place, "mean"), data["mean"]),
            self.number((*place, "worst"), data["worst"]),
            self.number((*place, "kendall_tau"), data["kendall_tau"], least=-1),
            self.count((*place, "archs"), data["archs"]),
        )

    def term(self, place: Place, value: object) -> tuple[Term, float]:
        values = self.items(place, value)
        if len(values) != 4:
            message = f"must be [operator, tokens, left, ms], got {shown(value)}"
            raise self.document.error(place, message)
        operator, tokens, left, ms = values
        term = Term(
            self.text((*place, 0), operator),
            self.count((*place, 1), tokens),
            self.count((*place, 2), left),
        )
        return term, self.number((*place, 3), ms)

    def measured(
        self, place: Place, value: object, shape: BackboneShape, terms: Mapping[Term, float]
    ) -> Measured:
        data = self.mapping(place, value, MEASURED)
        arch = self.arch((*place, "blocks"), data["blocks"])
        for term in self.at((*place, "blocks"), terms_of, arch, shape):
            if term not in terms:
                message = f"{term} is not among the terms of this table"
                raise self.document.error((*place, "blocks"), message)
        return Measured(
            arch,
            self.positive((*place, "ms"), data["ms"]),
            self.number((*place, "spread"), data["spread"]),
            self.flag((*place, "held_out"), data["held_out"]),
        )


def check_name(name: object) -> str:
    """The name of a device, which budgets and files are called by.

    Raises:
        InputError: anything but letters, digits, - and _.
    """
    if not isinstance(name, str) or not name.replace("-", "").replace("_", "").isalnum():
        raise InputError(f"must be letters, digits, - and _ alone, got {shown(name)}")
    return name
