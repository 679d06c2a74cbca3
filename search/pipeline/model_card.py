"""Model cards of exported networks, for the Hugging Face Hub."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from search.front.front import Front
from search.pipeline.config import Config
from search.problem.costs import is_latency
from search.utils.console import cell
from space.arch import BlockArch
from space.arch_file import ArchFile
from space.cost import backbone_macs, backbone_params, macs, params, token_counts
from space.operators.registry import operators
from supernet.export import FORMATS, Check
from supernet.tasks.heads import HEADS
from supernet.tasks.registry import find_metric, task_entry

# The source of weights of an arch file without weights beside it.
SUPERNET = "supernet"


def render_subnet_card(
    name: str,
    file: ArchFile,
    config: Config,
    *,
    search_images: int,
    checks: Mapping[str, Check],
    source: str,
) -> str:
    """Render the model card of a subnet; each of its figures says how it was obtained.

    Args:
        name: Name of the network.
        file: Its arch file.
        config: Config of the run.
        search_images: Number of images of the search split.
        checks: Comparison of each file's outputs with the subnet's, by format.
        source: Source of the weights: `supernet`, or the file beside the arch file.
    """
    retrained = source != SUPERNET and "retrained" in file.metrics
    counts = token_counts(file.arch, file.shape)
    return _render(
        "subnet_card.md.jinja",
        name,
        "timm",
        config,
        results=list(_collect_results(file, source, config)),
        file=file,
        of_supernet=source == SUPERNET,
        retrained=retrained,
        costs=_count_costs(file),
        # From the arch file: `data.test_limit` may have changed since the measurement.
        images={"test": file.metrics.get("test_images"), "search": search_images},
        speed=file.metrics.get("images_per_second"),
        latencies=[value for key, value in file.metrics.items() if is_latency(key)],
        blocks=list(zip(counts, map(_describe_block, file.arch.blocks), strict=True)),
        checks=checks,
        formats=FORMATS,
        map_size=_format_map_size(file),
        batches={
            key: f"batches of {check.batch}" if check.batch else "any batch size"
            for key, check in checks.items()
        },
    )


def render_portfolio_card(name: str, front: Front, config: Config, search_images: int) -> str:
    """Render the model card of a portfolio.

    Args:
        name: Name of the portfolio.
        front: The front of its subnets.
        config: Config of the run.
        search_images: Number of images of the search split, on which the front was measured.
    """
    rows = front.rows()
    if front.shape.has_dense_head:
        for entry, row in zip(front.entries, rows, strict=True):
            row["backbone_macs"] = backbone_macs(entry.arch, front.shape)
    columns = [key for key in rows[0] if key != "trial"]
    return _render(
        "portfolio_card.md.jinja",
        name,
        "tokennas",
        config,
        results=[],
        model=config.backbone.model,
        front=front,
        columns=columns,
        rows=[[cell(key, row[key]) for key in columns] for row in rows],
        search_images=search_images,
        head_params=front.shape.head.params if front.shape.has_dense_head else None,
    )


def _count_costs(file: ArchFile) -> dict[str, int]:
    """Count MACs and parameters; with a dense head also without it, as papers on dense tasks do."""
    costs = {"MACs of an image": macs, "parameters": params}
    if file.shape.has_dense_head:
        costs |= {"MACs without head": backbone_macs, "parameters without head": backbone_params}
    return {name: cost(file.arch, file.shape) for name, cost in costs.items()}


def _format_map_size(file: ArchFile) -> str:
    """Format the size of a dense head's output, height x width; empty for other heads."""
    options = file.task.get("head")
    head = HEADS.get(str(options.get("name"))) if isinstance(options, dict) else None
    return "" if head is None else " x ".join(map(str, head.map_size(file.shape.grid)))


def _render(
    template: str,
    name: str,
    library: str,
    config: Config,
    results: list[EvalResult],
    **values: Any,
) -> str:
    dataset, task = config.data.dataset.name, task_entry(config.task_name)
    # Named in the card, as their license may cover derived weights.
    first_weights = "timm's pretrained weights" if config.backbone.pretrained else "random weights"
    if config.backbone.checkpoint is not None:
        first_weights = f"`{Path(config.backbone.checkpoint).name}`"
    card = ModelCard.from_template(
        ModelCardData(
            library_name=library,
            pipeline_tag=task.pipeline_tag,
            tags=list(dict.fromkeys([task.pipeline_tag, library, "tokennas"])),
            datasets=[dataset.removeprefix("hfds/")] if dataset.startswith("hfds/") else None,
            # Alone, it would be a key that the Hub does not know.
            model_name=name if results else None,
            eval_results=results or None,
        ),
        str(Path(__file__).with_name(template)),
        name=name,
        dataset=dataset,
        first_weights=first_weights,
        version=version("tokennas"),
        network=task.network,
        output=task.output,
        meaning=task.meaning,
        results=results,
        **values,
    )
    return f"{card}\n"


def _collect_results(file: ArchFile, source: str, config: Config) -> Iterator[EvalResult]:
    """Yield the metrics that were measured with the weights of a source."""
    weights, splits = "retrained", {"retrained": "test"}
    if source == SUPERNET:
        weights, splits = "with the supernet's weights", {"inherited": "test", "search": "search"}
    for key, split in splits.items():
        metrics = file.metrics.get(key)
        for name, value in metrics.items() if isinstance(metrics, dict) else ():
            metric = find_metric(name)
            if metric is not None and isinstance(value, int | float):
                unit = "" if metric.unit in ("", "%") else f" ({metric.unit})"
                yield EvalResult(
                    task_type=task_entry(config.task_name).pipeline_tag,
                    dataset_type=config.data.dataset.name,
                    dataset_name=config.data.dataset.name,
                    dataset_split=split,
                    metric_type=metric.hub_type or name,
                    metric_name=f"{metric.title}{unit}, {weights}",
                    metric_value=value,
                )


def _describe_block(block: BlockArch) -> str:
    words = (operator.describe(operator.choice(block)) for operator in operators())
    return ", ".join(filter(None, words))
