"""`front.yaml`: the subnets of a front with all that is known of them (schema tokennas/front/1)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from search.costs import FREE_COSTS
from search.objectives import DIRECTIONS, Objective
from search.reading import Reader, is_finite
from space.arch import one_of
from space.errors import shown
from space.files import block_to_dict
from space.shape import BackboneShape
from space.yamlfile import Place, read_yaml, write_yaml

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
# Where it says nothing of them, metrics are better as ours are.
OPTIONAL = ("directions", "functions", "images")
IDENTITY = re.compile(r"[0-9a-f]{16}")
ENTRY = ("trial", "identity", "values", "metrics", "blocks")


def write_front(path: str | Path, values: Mapping[str, Any]) -> None:
    """Write the fields of a front."""
    directions = dict(values["directions"])
    plain = {
        "schema": SCHEMA,
        "objectives": [str(objective) for objective in values["objectives"]],
        "evaluations": values["evaluations"],
        "failed": values["failed"],
        "ended": values["ended"],
        "left_out": values["left_out"],
        **_known("images", values["images"]),
        "full": dict(values["full"]),
        "reference": list(values["reference"]),
        "steps": [list(step) for step in values["steps"]],
        "entries": [
            {
                "trial": entry["trial"],
                "identity": entry["identity"],
                "values": list(entry["values"]),
                "metrics": dict(entry["metrics"]),
                **_known("error", entry["error"]),
                "blocks": [block_to_dict(block) for block in entry["arch"].blocks],
            }
            for entry in values["entries"]
        ],
        **({"directions": directions} if directions != DIRECTIONS else {}),
        **({"functions": list(values["functions"])} if values["functions"] else {}),
        # Last, where the costs of the entries check it: a file that was cut is noticed.
        "shape": values["shape"].to_dict(),
    }
    write_yaml(path, plain)


def _known(name: str, value: float | None) -> dict[str, float]:
    return {} if value is None else {name: value}


def read_front(path: str | Path) -> dict[str, Any]:
    """The fields of a front; costs are checked against blocks and shape.

    Raises:
        InputError: file, line, place, value and what would be right.
    """
    document = read_yaml(path)
    reader = _Reader(document)
    document.check_schema(SCHEMA)
    data = reader.mapping((), document.data, KEYS, optional=OPTIONAL)
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
        "images": reader.count(("images",), data["images"]) if "images" in data else None,
        "directions": reader.directions(("directions",), data.get("directions", DIRECTIONS)),
        "functions": tuple(
            reader.text(("functions", i), name)
            for i, name in enumerate(reader.items(("functions",), data.get("functions", [])))
        ),
        "shape": shape,
        "full": reader.numbers(("full",), data["full"]),
        "reference": reader.values(("reference",), data["reference"], len(objectives)),
        "steps": tuple(reader.step(("steps", i), step) for i, step in enumerate(steps)),
        "entries": [
            reader.entry(("entries", i), entry, shape, len(objectives))
            for i, entry in enumerate(reader.items(("entries",), data["entries"]))
        ],
    }


class _Reader(Reader):
    """Reads what is the front's own."""

    def entry(
        self, place: Place, entry: object, shape: BackboneShape, objectives: int
    ) -> dict[str, Any]:
        data = self.mapping(place, entry, ENTRY, optional=("error",))
        arch = self.arch((*place, "blocks"), data["blocks"])
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
            "error": self.number((*place, "error"), data["error"]) if "error" in data else None,
        }

    def step(self, place: Place, step: object) -> tuple[int, float]:
        count, volume = self.values(place, step, 2)
        return self.count(place, int(count)), volume

    def numbers(self, place: Place, value: object) -> dict[str, float]:
        if not isinstance(value, dict) or not all(map(is_finite, value.values())):
            raise self.document.error(place, f"must be numbers by name, got {shown(value)}")
        if "macs" not in value:
            raise self.document.error(place, "missing 'macs'")
        return {name: float(number) for name, number in value.items()}

    def directions(self, place: Place, value: object) -> dict[str, str]:
        if not isinstance(value, dict):
            raise self.document.error(place, f"must be max or min by name, got {shown(value)}")
        for name, direction in value.items():
            self.at((*place, name), one_of, "direction", direction, ("max", "min"))
        return {str(name): direction for name, direction in value.items()}

    def identity(self, place: Place, value: object) -> str:
        """Files are named after it, so that it may be nothing but a hash."""
        text = self.text(place, value)
        if not IDENTITY.fullmatch(text):
            raise self.document.error(place, f"must be 16 hexadecimal digits, got {shown(text)}")
        return text


def _objective(text: object) -> Objective:
    name, _, direction = str(text).partition("=")
    return Objective(name, direction)  # type: ignore[arg-type]
