"""Model cards of exported networks, for the Hugging Face Hub."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from search.front.front import Front
from search.pipeline.config import Config
from search.pipeline.subnets import SUPERNET
from search.problem.latency_names import is_latency
from search.utils.console import cell, metric_title
from space.arch import BlockArch
from space.arch_file import ArchFile
from space.cost import macs, params, token_counts
from space.operators.registry import operators
from supernet.export import FORMATS, Check
from supernet.tasks.registry import find_metric, task_entry


@dataclass(frozen=True)
class Measurement:
    """A metric of the network.

    Args:
        name: Name of the metric.
        value: Its value.
        split: The split that it was measured on.
        images: Images of that split; None where unknown.
        weights: The weights that it was measured with, in words.
    """

    name: str
    value: float
    split: str
    images: int | None
    weights: str

    @property
    def title(self) -> str:
        return metric_title(self.name)


def render_subnet_card(
    name: str,
    file: ArchFile,
    config: Config,
    *,
    search_images: int,
    checks: Mapping[str, Check],
    source: str,
) -> str:
    """Render the model card of a subnet, with measured values only.

    Args:
        name: Name of the network.
        file: Its arch file.
        config: Config of the run.
        search_images: Images of the search split.
        checks: Comparison of each file's outputs with the subnet's, by format.
        source: Source of the weights: `supernet`, or the file that lay beside the arch file.
    """
    retrained = source != SUPERNET and "retrained" in file.metrics
    weights = "weights that lay beside its arch file"
    if source == SUPERNET:
        weights = "the weights of the supernet"
    elif retrained:
        weights = "weights of its own, retrained"
    speed = file.metrics.get("images_per_second")
    measured_speed = isinstance(speed, dict) and isinstance(speed.get("value"), int | float)
    latencies = [value for key, value in file.metrics.items() if is_latency(key)]
    counts = token_counts(file.arch, file.shape)
    return _render(
        "subnet_card.md.jinja",
        name,
        "timm",
        config,
        measurements=list(_collect_measurements(file, source, search_images)),
        file=file,
        weights=weights,
        macs=macs(file.arch, file.shape),
        params=params(file.arch, file.shape),
        speed=speed if retrained and measured_speed else None,
        latencies=[each for each in latencies if isinstance(each, dict)],
        blocks=list(zip(counts, map(_describe, file.arch.blocks), strict=True)),
        checks=checks,
        formats=FORMATS,
    )


def render_portfolio_card(name: str, front: Front, config: Config, search_images: int) -> str:
    """Render the model card of a portfolio.

    Args:
        name: Name of the portfolio.
        front: The front of its subnets.
        config: Config of the run.
        search_images: Images of the search split, on which the front was measured.
    """
    rows = front.rows()
    columns = [key for key in rows[0] if key != "trial"]
    return _render(
        "portfolio_card.md.jinja",
        name,
        "tokennas",
        config,
        model=config.backbone.model,
        front=front,
        columns=columns,
        rows=[[cell(key, row[key]) for key in columns] for row in rows],
        search_images=search_images,
    )


def find_hub_datasets(name: str) -> list[str] | None:
    """Return the Hugging Face Hub's name of a data set from there; None for others."""
    return [name.removeprefix("hfds/")] if name.startswith("hfds/") else None


def describe_first_weights(config: Config) -> str:
    """Describe the supernet's initial weights, whose license may bind derived weights."""
    if config.backbone.checkpoint is not None:
        return f"`{Path(config.backbone.checkpoint).name}`"
    return "timm's pretrained weights" if config.backbone.pretrained else "random weights"


def _render(
    template: str,
    name: str,
    library: str,
    config: Config,
    measurements: Sequence[Measurement] = (),
    **values: Any,
) -> str:
    dataset, pipeline_tag = config.data.dataset.name, task_entry(config.task_name).pipeline_tag
    results = [
        EvalResult(
            task_type=pipeline_tag,
            dataset_type=dataset,
            dataset_name=dataset,
            dataset_split=each.split,
            metric_type=getattr(find_metric(each.name), "hub_type", "") or each.name,
            metric_name=f"{each.title}, {each.weights}",
            metric_value=each.value,
        )
        for each in measurements
    ]
    card = ModelCard.from_template(
        ModelCardData(
            library_name=library,
            pipeline_tag=pipeline_tag,
            tags=list(dict.fromkeys([pipeline_tag, library, "tokennas"])),
            datasets=find_hub_datasets(dataset),
            model_name=name if results else None,
            eval_results=results or None,
        ),
        str(Path(__file__).with_name(template)),
        name=name,
        dataset=dataset,
        first_weights=describe_first_weights(config),
        version=version("tokennas"),
        network=task_entry(config.task_name).network,
        measurements=measurements,
        **values,
    )
    return f"{card}\n"


def _collect_measurements(file: ArchFile, source: str, search_images: int) -> Iterator[Measurement]:
    """Yield the metrics that were measured with the weights of a source."""
    # From the arch file: `data.test_limit` may have changed since the measurement.
    test_images, supernet = file.metrics.get("test_images"), "with the supernet's weights"
    of_supernet = {
        "inherited": ("test", test_images, supernet),
        "search": ("search", search_images, supernet),
    }
    of_its_own = {"retrained": ("test", test_images, "retrained")}
    for key, conditions in (of_supernet if source == SUPERNET else of_its_own).items():
        metrics = file.metrics.get(key)
        for name, value in metrics.items() if isinstance(metrics, dict) else ():
            if find_metric(name) is not None and isinstance(value, int | float):
                yield Measurement(name, value, *conditions)


def _describe(block: BlockArch) -> str:
    words = (operator.describe(operator.choice(block)) for operator in operators())
    return ", ".join(filter(None, words))
