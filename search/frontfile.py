"""`front.yaml`: the subnets of a front with all that is known of them (schema tokennas/front/1)."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from search.costs import FREE_COSTS
from search.objectives import Objective
from space.arch import Arch, BlockArch, Pool, is_integer
from space.errors import InputError, near, shown
from space.files import block_to_dict
from space.shape import BackboneShape
from space.yamlfile import Document, Place, read_yaml, write_yaml

T = TypeVar("T")

SCHEMA = "tokennas/front/1"
KEYS = (
    "schema",
    "objectives",
    "evaluations",
    "failed",
    "ended",
    "left_out",
    "full",
    "reference",
    "steps",
    "entries",
    "shape",
)
IDENTITY = re.compile(r"[0-9a-f]{16}")
ENTRY = ("trial", "identity", "values", "metrics", "blocks")


def write_front(path: str | Path, values: Mapping[str, Any]) -> None:
    """Write the fields of a front."""
    plain = {
        "schema": SCHEMA,
        "objectives": [str(objective) for objective in values["objectives"]],
        "evaluations": values["evaluations"],
        "failed": values["failed"],
        "ended": values["ended"],
        "left_out": values["left_out"],
        "full": dict(values["full"]),
        "reference": list(values["reference"]),
        "steps": [list(step) for step in values["steps"]],
        "entries": [
            {
                "trial": entry["trial"],
                "identity": entry["identity"],
                "values": list(entry["values"]),
                "metrics": dict(entry["metrics"]),
                "blocks": [block_to_dict(block) for block in entry["arch"].blocks],
            }
            for entry in values["entries"]
        ],
        # Last, where the costs of the entries check it: a file that was cut is noticed.
        "shape": values["shape"].to_dict(),
    }
    write_yaml(path, plain)


def read_front(path: str | Path) -> dict[str, Any]:
    """The fields of a front; costs are checked against blocks and shape.

    Raises:
        InputError: file, line, place, value and what would be right.
    """
    document = read_yaml(path)
    reader = _Reader(document)
    document.check_schema(SCHEMA)
    data = reader.mapping((), document.data, KEYS)
    if data["schema"] != SCHEMA:
        raise document.error(("schema",), f"must be {SCHEMA}, got {shown(data['schema'])}")
    objectives = tuple(
        reader.at(("objectives", i), _objective, text)
        for i, text in enumerate(reader.items(("objectives",), data["objectives"]))
    )
    shape = reader.at(("shape",), BackboneShape.from_dict, data["shape"])
    steps = reader.items(("steps",), data["steps"])
    return {
        "objectives": objectives,
        "evaluations": reader.count(("evaluations",), data["evaluations"]),
        "failed": reader.count(("failed",), data["failed"]),
        "ended": reader.text(("ended",), data["ended"]),
        "left_out": reader.count(("left_out",), data["left_out"]),
        "shape": shape,
        "full": reader.numbers(("full",), data["full"]),
        "reference": reader.values(("reference",), data["reference"], len(objectives)),
        "steps": tuple(reader.step(("steps", i), step) for i, step in enumerate(steps)),
        "entries": [
            reader.entry(("entries", i), entry, shape, len(objectives))
            for i, entry in enumerate(reader.items(("entries",), data["entries"]))
        ],
    }


class _Reader:
    """Checks the values of a document one by one; errors name file, line and place."""

    def __init__(self, document: Document) -> None:
        self.document = document

    def entry(
        self, place: Place, entry: object, shape: BackboneShape, objectives: int
    ) -> dict[str, Any]:
        data = self.mapping(place, entry, ENTRY)
        blocks = self.items((*place, "blocks"), data["blocks"])
        arch = self.at(
            (*place, "blocks"),
            Arch,
            tuple(self.block((*place, "blocks", i), block) for i, block in enumerate(blocks)),
        )
        metrics = self.numbers((*place, "metrics"), data["metrics"])
        for name in FREE_COSTS.keys() & metrics.keys():
            right = self.at((*place, "blocks"), FREE_COSTS[name].of, arch, shape)
            if metrics[name] != right:
                message = f"does not fit blocks and shape, which give {right}"
                raise self.document.error((*place, "metrics", name), message)
        return {
            "arch": arch,
            "identity": self.identity((*place, "identity"), data["identity"]),
            "trial": self.count((*place, "trial"), data["trial"]),
            "values": self.values((*place, "values"), data["values"], objectives),
            "metrics": metrics,
        }

    def block(self, place: Place, block: object) -> BlockArch:
        data = self.mapping(place, block, ("pool", "skip", "selector", "attention"), partly=True)
        if data.get("pool") is not None:
            there = (*place, "pool")
            pool = self.mapping(there, data["pool"], ("kind", "grid", "stride"), partly=True)
            if isinstance(pool.get("grid"), list):
                pool["grid"] = tuple(pool["grid"])
            data["pool"] = self.at(there, Pool, **{"kind": None, **pool})
        return self.at(place, BlockArch, **data)

    def step(self, place: Place, step: object) -> tuple[int, float]:
        count, volume = self.values(place, step, 2)
        return self.count(place, int(count)), volume

    def mapping(
        self, place: Place, value: object, keys: tuple[str, ...], partly: bool = False
    ) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise self.document.error(place, f"must be a mapping, got {shown(value)}")
        for key in value:
            if key not in keys:
                hint = near(key, list(keys)) or f"; known are {', '.join(keys)}"
                raise self.document.error((*place, key), f"unknown key{hint}")
        missing = [key for key in keys if key not in value]
        if missing and not partly:
            raise self.document.error(place, f"missing {missing[0]!r}")
        return dict(value)

    def items(self, place: Place, value: object) -> list[Any]:
        if not isinstance(value, list):
            raise self.document.error(place, f"must be a list, got {shown(value)}")
        return value

    def values(self, place: Place, value: object, count: int) -> tuple[float, ...]:
        items = self.items(place, value)
        if len(items) != count or not all(map(_finite, items)):
            raise self.document.error(place, f"must be {count} numbers, got {shown(value)}")
        return tuple(map(float, items))

    def numbers(self, place: Place, value: object) -> dict[str, float]:
        if not isinstance(value, dict) or not all(map(_finite, value.values())):
            raise self.document.error(place, f"must be numbers by name, got {shown(value)}")
        if "macs" not in value:
            raise self.document.error(place, "missing 'macs'")
        return {name: float(number) for name, number in value.items()}

    def count(self, place: Place, value: object) -> int:
        if not is_integer(value) or value < 0:
            raise self.document.error(place, f"must be a count, got {shown(value)}")
        return value

    def identity(self, place: Place, value: object) -> str:
        """Files are named after it, so that it may be nothing but a hash."""
        text = self.text(place, value)
        if not IDENTITY.fullmatch(text):
            raise self.document.error(place, f"must be 16 hexadecimal digits, got {shown(text)}")
        return text

    def text(self, place: Place, value: object) -> str:
        if not isinstance(value, str):
            raise self.document.error(place, f"must be text, got {shown(value)}")
        return value

    def at(self, place: Place, make: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Call `make`, giving its complaint the place in the file."""
        try:
            return make(*args, **kwargs)
        except InputError as error:
            raise self.document.error(place, str(error)) from None


def _objective(text: object) -> Objective:
    name, _, direction = str(text).partition("=")
    return Objective(name, direction)  # type: ignore[arg-type]


def _finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
