"""The networks that a report is about: retrained ones, or else some of the front."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from search.folder import CONFIG, read_values, section
from search.front import Front
from search.frontfile import FrontEntry
from search.latency.costs import MEASURED, is_latency
from search.report.logs import Row, read_log
from search.stages.places import failure
from space.arch import Arch
from space.arch_file import load_arch_file
from space.cost import macs, params
from space.shape import BackboneShape
from space.utils.errors import InputError, shown


class Latency(NamedTuple):
    """Milliseconds of a batch.

    Args:
        ms: the value.
        measured: on the device; else predicted.
        of: device, batch and dtype, where known.
    """

    ms: float
    measured: bool
    of: str = ""


Metrics = Mapping[str, float]
Metadata = Mapping[str, Any]

ARCH = "arch.yaml"
BASELINE, RANDOM = "baseline ", "random "
# `50%`, `latency_ms@cpu=60%`, `macs=0.8G`
BUDGET = re.compile(r"[\w.@-]+ ?= ?\d[\w.+-]* ?%?|\d[\d.]* ?[%kMGT]")


@dataclass(frozen=True)
class Choice:
    """A network of the final table.

    Args:
        name: of its folder, or of its place on the front.
        arch: what it is.
        shape: of the backbone.
        file: its arch file, relative to the run; None where it was not exported.
        weights: beside it, relative to the run; None where there are none.
        search: metrics on the search split.
        inherited: metrics on the test split, with the supernet's weights.
        retrained: metrics on the test split, after retraining.
        speed: images/s, in inference; None where it was not measured.
        speed_of: where that was measured: device, batch, dtype.
        latencies: milliseconds, by the name of the cost.
        rows: the log of its retraining.
        images: how many the test metrics are of; None where nothing says.
        recipe: the values that it was retrained by.
        better: what the search has since found for the same budget; None where this is its best.
    """

    name: str
    arch: Arch
    shape: BackboneShape
    file: Path | None = None
    weights: Path | None = None
    search: Metrics = field(default_factory=dict)
    inherited: Metrics = field(default_factory=dict)
    retrained: Metrics = field(default_factory=dict)
    speed: float | None = None
    speed_of: str = ""
    latencies: Mapping[str, Latency] = field(default_factory=dict)
    rows: tuple[Row, ...] = ()
    images: int | None = None
    recipe: Metadata = field(default_factory=dict)
    better: FrontEntry | None = None

    @property
    def macs(self) -> int:
        return macs(self.arch, self.shape)

    @property
    def params(self) -> int:
        return params(self.arch, self.shape)

    @property
    def of_full(self) -> float:
        """Its MACs as a share of the full network's."""
        return self.macs / macs(Arch.full(self.shape.depth), self.shape)

    @property
    def full(self) -> bool:
        """Whether it is the full network."""
        return self.arch == Arch.full(self.shape.depth)

    @property
    def hand_made(self) -> bool:
        return self.name.startswith(BASELINE)

    @property
    def control(self) -> bool:
        """Whether it is there to compare with: made by hand, or the best of random ones."""
        return self.hand_made or self.name.startswith(RANDOM)

    @property
    def title(self) -> str:
        """Its name as a heading."""
        if self.full:
            return "Full network"
        if self.hand_made:
            return f"Hand-made: {self.label}"
        if BUDGET.fullmatch(self.name):
            title = f"Best within {self.name}" + " of the MACs" * ("=" not in self.name)
            return title if self.better is None else f"{title}, until the search went on"
        if self.name.startswith(RANDOM):
            return f"Best of random archs within {self.name.removeprefix(RANDOM)} of the MACs"
        return self.name[:1].upper() + self.name[1:]

    @property
    def label(self) -> str:
        """Its name as pictures show it: the budget of a found one is not its size."""
        if self.full:
            return "full network"
        if self.hand_made:
            return re.sub(rf" ({BUDGET.pattern})$", r", \1", self.name.removeprefix(BASELINE))
        return f"within {self.name}" if BUDGET.fullmatch(self.name) else self.name


def read_retrained(run: Path, name: str) -> tuple[list[Choice], list[str]]:
    """The retrained networks, those of most MACs first, and what is to be said of those that
    are not complete.

    Raises:
        InputError: an arch file or a log is not right, in one line that names it.
    """
    folder = run / "retrain" / name
    places = sorted(each for each in folder.iterdir() if each.is_dir()) if folder.is_dir() else []
    choices = [_retrained(run, place) for place in places if (place / ARCH).exists()]
    open_ones = [_open(place) for place in places if not (place / ARCH).exists()]
    return sorted(choices, key=lambda each: (not each.full, -each.macs, each.name)), open_ones


def _open(place: Path) -> str:
    """What is said of a folder that is not complete."""
    reason = failure(place)
    if reason is None:
        return f"{place.name} is not finished: left out."
    return f"{place.name} could not be retrained, and is left out: {reason}"


def choices_of_front(run: Path, name: str, front: Front) -> list[Choice]:
    """The best, the middle and the smallest subnet of a front, each once.

    Without a measured objective none is the best.
    """
    entries = sorted(front.entries, key=lambda entry: -entry.metrics.get("macs", 0.0))
    if not entries:
        return []
    best = front.best() if front.ranked_by else None
    picked = {} if best is None else {"best of the front": best}
    picked |= {"middle of the front": _middle(entries), "smallest of the front": entries[-1]}
    found: dict[Arch, Choice] = {}
    for title, entry in picked.items():
        path = next((run / "export" / name).glob(f"*_{entry.identity[:6]}.yaml"), None)
        file = None if path is None else path.relative_to(run)
        known = {
            name: Latency(entry.metrics.get(MEASURED + name, ms), MEASURED + name in entry.metrics)
            for name, ms in entry.metrics.items()
            if is_latency(name)
        }
        choice = Choice(
            title, entry.arch, front.shape, file, search=dict(entry.metrics), latencies=known
        )
        found.setdefault(entry.arch, choice)
    return list(found.values())


def _middle(entries: list[FrontEntry]) -> FrontEntry:
    """The entry whose MACs are nearest to halfway between most and fewest."""
    costs = [entry.metrics.get("macs", 0.0) for entry in entries]
    half = (costs[0] + costs[-1]) / 2
    return min(entries, key=lambda entry: abs(entry.metrics.get("macs", 0.0) - half))


def _retrained(run: Path, place: Path) -> Choice:
    path, log = place / ARCH, place / "log.jsonl"
    file = load_arch_file(path)
    speed, speed_of = _speed(path, file.metrics.get("images_per_second"))
    weights, images = sorted(place.glob("*.safetensors")), file.metrics.get("test_images")
    return Choice(
        str(file.origin.get("choice", place.name)),
        file.arch,
        file.shape,
        path.relative_to(run),
        weights[0].relative_to(run) if weights else None,
        search=_metrics(path, "search", file.metrics),
        inherited=_metrics(path, "inherited", file.metrics),
        retrained=_metrics(path, "retrained", file.metrics),
        speed=speed,
        speed_of=speed_of,
        latencies=_latencies(path, file.metrics),
        rows=tuple(read_log(log)) if log.exists() else (),
        images=images if isinstance(images, int) else None,
        recipe=section(read_values(place / CONFIG), "retrain"),
    )


def _metrics(path: Path, kind: str, metrics: Metadata) -> dict[str, float]:
    given = metrics.get(kind)
    values = {} if given is None else given
    if not isinstance(values, dict) or not all(map(_is_number, values.values())):
        raise InputError(f"{path}: metrics.{kind}: must be numbers by name, got {shown(given)}")
    return {name: float(value) for name, value in values.items()}


def _speed(path: Path, given: Any) -> tuple[float | None, str]:
    if given is None:
        return None, ""
    values = given if isinstance(given, dict) else {"value": given}
    if not _is_number(values.get("value")):
        raise InputError(
            f"{path}: metrics.images_per_second: must be a number with device, batch and dtype, "
            f"got {shown(given)}"
        )
    return float(values["value"]), _conditions(values)


def _latencies(path: Path, metrics: Mapping[str, Any]) -> dict[str, Latency]:
    found = {}
    for name, given in metrics.items():
        if is_latency(name):
            if not isinstance(given, dict) or not _is_number(given.get("value")):
                raise InputError(
                    f"{path}: metrics.{name}: must be a number with device, batch and dtype, "
                    f"got {shown(given)}"
                )
            ms, measured = float(given["value"]), given.get("measured") is True
            found[name] = Latency(ms, measured, _conditions(given))
    return found


def _conditions(values: Mapping[str, Any]) -> str:
    words = [str(values[key]) for key in ("device", "dtype") if key in values]
    batch = [f"batch {values['batch']}"] if "batch" in values else []
    return ", ".join(words[:1] + batch + words[1:])


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
