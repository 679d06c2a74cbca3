"""`front.yaml`: the subnets of a front and their metrics (schema tokennas/front/1)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from search.problem.costs import FREE_COSTS, predicted_name
from search.problem.objectives import Objective
from space.arch import Arch
from space.arch_file import block_to_dict, read_blocks
from space.shape import BackboneShape
from space.utils.errors import shown
from space.utils.reader import Reader, open_yaml
from space.utils.yaml_file import write_yaml
from supernet.tasks.registry import DEFAULT_TASK
from supernet.tasks.registry import directions as task_directions

SCHEMA = "tokennas/front/1"
FRONT = "front.yaml"
COUNTS = ("evaluations", "failed", "left_out")
REQUIRED = ("objectives", *COUNTS, "ended", "full", "reference", "steps", "entries", "shape")
IDENTITY = re.compile(r"[0-9a-f]{16}")
# The directions that a file may leave out.
DEFAULT_DIRECTIONS = task_directions(DEFAULT_TASK)


@dataclass(frozen=True)
class FrontEntry:
    """A subnet of the front.

    Args:
        arch: Canonical arch.
        identity: `SearchSpace.identity` of the arch.
        trial: Number of the evaluation, in the order of finishing.
        values: Objective values, in the objectives' order.
        metrics: Measured metrics and free costs by name.
        error: Standard error of the lead, see `Front.leads`; None where it is unknown.
    """

    arch: Arch
    identity: str
    trial: int
    values: tuple[float, ...]
    metrics: Mapping[str, float]
    error: float | None = None

    @property
    def measured(self) -> dict[str, float]:
        """Latencies that were measured on the device, by name of the predicted cost."""
        named = ((predicted_name(name), value) for name, value in self.metrics.items())
        return {cost: value for cost, value in named if cost is not None}


@dataclass(frozen=True)
class FrontFile:
    """The contents of a front's file.

    Args:
        objectives: Objectives of the search.
        entries: Subnets.
        shape: Shape of the backbone.
        full: Free costs of the full arch, which are 100% in limits.
        evaluations: Number of finished evaluations, failed ones included.
        failed: Number of failed evaluations.
        reference: Reference point of the hypervolume: the worst value of each objective.
        steps: (evaluations, hypervolume) at each growth of the hypervolume.
        ended: Reason why the search ended, and why the front is empty if it is.
        left_out: Number of subnets that the file leaves out, see `Front.save`.
        images: Number of images of the search split; None where it is unknown.
        directions: Directions of metrics that are no objectives, by name.
        functions: Objectives that are functions of the arch and fail on the full arch.
    """

    objectives: tuple[Objective, ...]
    entries: tuple[FrontEntry, ...]
    shape: BackboneShape
    full: Mapping[str, float]
    evaluations: int
    failed: int = 0
    reference: tuple[float, ...] = ()
    steps: tuple[tuple[int, float], ...] = ()
    ended: str = ""
    left_out: int = 0
    images: int | None = None
    directions: Mapping[str, str] = field(default_factory=DEFAULT_DIRECTIONS.copy)
    functions: tuple[str, ...] = ()

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a front, and check its costs against blocks and shape.

        Raises:
            InputError: The file is invalid.
        """
        fields = open_yaml(path, SCHEMA).mapping(
            *("schema", *REQUIRED), images=None, directions=DEFAULT_DIRECTIONS, functions=()
        )
        objectives = tuple(map(_read_objective, fields["objectives"].items(least=1)))
        shape = BackboneShape.read(fields["shape"])
        return cls(
            objectives,
            tuple(_read_entry(each, shape, len(objectives)) for each in fields["entries"].items()),
            shape,
            _read_costs(fields["full"]),
            **{name: fields[name].integer() for name in COUNTS},
            reference=fields["reference"].numbers(len(objectives)),
            steps=tuple(map(_read_step, fields["steps"].items())),
            ended=fields["ended"].text(),
            images=None if fields["images"].value is None else fields["images"].integer(),
            directions={
                name: each.choice(("max", "min"))
                for name, each in fields["directions"].entries().items()
            },
            functions=tuple(each.text() for each in fields["functions"].items()),
        )

    def write(self, path: str | Path) -> None:
        """Write the file, without thinning it out as `Front.save` does."""
        plain: dict[str, Any] = {
            "schema": SCHEMA,
            "objectives": [str(objective) for objective in self.objectives],
            "evaluations": self.evaluations,
            "failed": self.failed,
            "ended": self.ended,
            "left_out": self.left_out,
            "images": self.images,
            "full": dict(self.full),
            "reference": list(self.reference),
            "steps": [list(step) for step in self.steps],
            "entries": [_entry_to_dict(entry) for entry in self.entries],
            "directions": dict(self.directions) if self.directions != DEFAULT_DIRECTIONS else None,
            "functions": list(self.functions) or None,
            # Last, and required to check the costs of the entries: a truncated file is noticed.
            "shape": self.shape.to_dict(),
        }
        write_yaml(path, {name: value for name, value in plain.items() if value is not None})


def _entry_to_dict(entry: FrontEntry) -> dict[str, Any]:
    return {
        "trial": entry.trial,
        "identity": entry.identity,
        "values": list(entry.values),
        "metrics": dict(entry.metrics),
        **({} if entry.error is None else {"error": entry.error}),
        "blocks": [block_to_dict(block) for block in entry.arch.blocks],
    }


def _read_entry(reader: Reader, shape: BackboneShape, objectives: int) -> FrontEntry:
    fields = reader.mapping("trial", "identity", "values", "metrics", "blocks", error=None)
    arch = read_blocks(fields["blocks"])
    metrics = _read_costs(fields["metrics"])
    for name, each in fields["metrics"].entries().items():
        if name in FREE_COSTS:
            expected = fields["blocks"].make(FREE_COSTS[name].compute, arch, shape)
            if metrics[name] != expected:
                raise each.error(f"does not fit blocks and shape, which give {expected}")
    identity = fields["identity"].text()
    # Files are named after the identity: anything but a hash might be another path.
    if not IDENTITY.fullmatch(identity):
        raise fields["identity"].error(f"must be 16 hexadecimal digits, got {shown(identity)}")
    return FrontEntry(
        arch,
        identity,
        fields["trial"].integer(),
        fields["values"].numbers(objectives),
        metrics,
        None if fields["error"].value is None else fields["error"].number(),
    )


def _read_objective(reader: Reader) -> Objective:
    name, _, direction = str(reader.value).partition("=")
    return reader.make(Objective, name, direction)


def _read_costs(reader: Reader) -> dict[str, float]:
    costs = reader.named_numbers()
    if "macs" not in costs:
        raise reader.error("missing 'macs'")
    return costs


def _read_step(reader: Reader) -> tuple[int, float]:
    count, volume = reader.numbers(2)
    return int(count), volume
