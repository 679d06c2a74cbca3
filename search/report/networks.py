"""The networks of a report: retrained ones, or else some of the front."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from search.front.front import Front
from search.front.front_file import FrontEntry
from search.pipeline.choose import Purpose
from search.pipeline.network_folder import ARCH, SAMPLES, read_failure
from search.pipeline.run_folder import CONFIG, read_values, section
from search.problem.costs import is_latency
from search.report.samples_data import Samples, read_samples
from search.report.training_log import Row, read_log
from space.arch import Arch
from space.arch_file import load_arch_file
from space.cost import backbone_macs, backbone_params, macs, params
from space.shape import BackboneShape
from space.utils.errors import is_number, naming
from space.utils.reader import Reader


@dataclass(frozen=True)
class SpeedFigure:
    """Speed of a network: milliseconds of a batch, or images/s.

    Args:
        value: The figure.
        conditions: Device, batch and dtype, where known.
        measured: Whether it was measured on the device, not predicted.
    """

    value: float
    conditions: str = ""
    measured: bool = True


@dataclass(frozen=True)
class Network:
    """A network of the report's table.

    Args:
        name: Name of the retrained choice, or position on the front.
        arch: Its arch.
        shape: Shape of the backbone.
        file: Its arch file, relative to the run; None where it was not exported.
        weights: The weights beside that file, relative to the run, or None.
        search: Metrics on the search split.
        inherited: Metrics on the test split, with the supernet's weights.
        retrained: Metrics on the test split, after retraining.
        standard_errors: Standard errors of these.
        test_images: Images of the test split; None where unknown.
        speed: Images/s in inference; None where it was not measured.
        latencies: Milliseconds of a batch, by name of the cost.
        log: Log of its retraining, a row for each epoch.
        budgets: The budgets of the config that it was retrained with.
        better: A better entry of the current front for the same budget, or None.
        samples: Pictures of its predictions; None without them.
        task: The section `task` of its arch file, where it has a head of the task's.
    """

    name: str
    arch: Arch
    shape: BackboneShape
    file: Path | None = None
    weights: Path | None = None
    search: Mapping[str, float] = field(default_factory=dict)
    inherited: Mapping[str, float] = field(default_factory=dict)
    retrained: Mapping[str, float] = field(default_factory=dict)
    standard_errors: Mapping[str, float] = field(default_factory=dict)
    test_images: int | None = None
    speed: SpeedFigure | None = None
    latencies: Mapping[str, SpeedFigure] = field(default_factory=dict)
    log: tuple[Row, ...] = ()
    budgets: tuple[str, ...] = ()
    better: FrontEntry | None = None
    samples: Samples | None = None
    task: Mapping[str, Any] = field(default_factory=dict)

    @property
    def macs(self) -> int:
        return macs(self.arch, self.shape)

    @property
    def params(self) -> int:
        return params(self.arch, self.shape)

    @property
    def backbone_macs(self) -> int:
        """Its MACs without the head."""
        return backbone_macs(self.arch, self.shape)

    @property
    def backbone_params(self) -> int:
        """Its parameters without those of the head."""
        return backbone_params(self.arch, self.shape)

    @property
    def backbone_share(self) -> float:
        """These MACs as a share of the full network's."""
        return self.backbone_macs / backbone_macs(Arch.full(self.shape.depth), self.shape)

    @property
    def mac_share(self) -> float:
        """Its MACs as a share of the full network's."""
        return self.macs / macs(Arch.full(self.shape.depth), self.shape)

    @property
    def is_full(self) -> bool:
        return self.arch == Arch.full(self.shape.depth)

    @property
    def is_control(self) -> bool:
        """Whether it is a control: hand-made, or the best of random archs."""
        return Purpose.parse(self.name).kind in ("baseline", "random")

    @property
    def label(self) -> str:
        """Its name in plots: `within 50%` for the best within a budget, as its cost may be less."""
        purpose = Purpose.parse(self.name)
        if self.is_full:
            return "full network"
        if purpose.kind == "baseline":
            return ", ".join(filter(None, (purpose.label, purpose.budget)))
        if purpose.kind == "best":
            return f"within {self.name}"
        # matplotlib leaves labels that begin with an underscore out of legends.
        return self.name.lstrip("_") or "network"


def read_retrained(run: Path, name: str) -> tuple[list[Network], list[str]]:
    """Read the retrained networks of a search.

    Returns:
        The networks, by descending MACs with the full one first; a line on each incomplete folder.

    Raises:
        InputError: An arch file or a log is invalid.
    """
    networks, unfinished = [], []
    for folder in sorted(each for each in (run / "retrain" / name).glob("*") if each.is_dir()):
        if (folder / ARCH).exists():
            networks.append(_read_network(run, folder))
        elif (reason := read_failure(folder)) is None:
            unfinished.append(f"{folder.name} is not finished, and is left out.")
        else:
            unfinished.append(f"{folder.name} could not be retrained, and is left out: {reason}")
    return sorted(networks, key=lambda each: (not each.is_full, -each.macs, each.name)), unfinished


def pick_from_front(run: Path, name: str, front: Front) -> list[Network]:
    """Pick the best, the middle and the smallest subnet of a front, without duplicates.

    A front without a measured objective has no best.
    """
    entries = sorted(front.entries, key=lambda entry: -entry.metrics["macs"])
    if not entries:
        return []
    best = front.best() if front.ranked_by else None
    picks = {} if best is None else {"best of the front": best}
    picks["middle of the front"] = entries[len(entries) // 2]
    picks["smallest of the front"] = entries[-1]
    networks: dict[Arch, Network] = {}
    for title, entry in picks.items():
        path = next((run / "export" / name).glob(f"*_{entry.identity[:6]}.yaml"), None)
        latencies = {
            cost: SpeedFigure(entry.measured.get(cost, ms), measured=cost in entry.measured)
            for cost, ms in entry.metrics.items()
            if is_latency(cost)
        }
        network = Network(
            title,
            entry.arch,
            front.shape,
            None if path is None else path.relative_to(run),
            search=entry.metrics,
            latencies=latencies,
        )
        networks.setdefault(entry.arch, network)
    return list(networks.values())


def _read_network(run: Path, folder: Path) -> Network:
    path = folder / ARCH
    file = load_arch_file(path)
    with naming(str(path)):
        figures = _read_figures(Reader(file.metrics, ("metrics",)).entries())
    weights = min(folder.glob("*.safetensors"), default=None)
    return Network(
        str(file.origin.get("choice", folder.name)),
        file.arch,
        file.shape,
        path.relative_to(run),
        weights.relative_to(run) if weights else None,
        log=tuple(read_log(folder / "log.jsonl")),
        budgets=read_budgets(read_values(folder / CONFIG)),
        samples=read_samples(folder / SAMPLES),
        task=file.task,
        **figures,
    )


def read_budgets(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the budgets to retrain for, from a stored config."""
    budgets = section(config, "retrain").get("budgets")
    return tuple(map(str, budgets)) if isinstance(budgets, list) else ()


def _read_figures(metrics: Mapping[str, Reader]) -> dict[str, Any]:
    """Read the metrics of an arch file into arguments of `Network`."""
    mappings = ("search", "inherited", "retrained", "standard_errors")
    figures: dict[str, Any] = {
        name: each.named_numbers() for name, each in metrics.items() if name in mappings
    }
    if "test_images" in metrics:
        figures["test_images"] = metrics["test_images"].integer()
    if "images_per_second" in metrics:
        figures["speed"] = _read_speed(metrics["images_per_second"])
    figures["latencies"] = {
        name: _read_speed(each) for name, each in metrics.items() if is_latency(name)
    }
    return figures


def _read_speed(reader: Reader) -> SpeedFigure:
    if is_number(reader.value):  # earlier versions stored the number alone
        return SpeedFigure(float(reader.value))
    entries, values = reader.entries(), reader.plain_mapping()
    if "value" not in entries:
        raise reader.error("missing 'value'")
    batch = f"batch {values['batch']}" if "batch" in values else None
    parts = (values.get("device"), batch, values.get("dtype"))
    conditions = ", ".join(str(each) for each in parts if each is not None)
    return SpeedFigure(entries["value"].number(), conditions, values.get("measured") is True)
