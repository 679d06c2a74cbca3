"""The head and foot of a report: a summary of the run, and how to load its networks."""

from __future__ import annotations

import platform
import shlex
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from search.front.front import Front
from search.pipeline.config import SearchConfig
from search.pipeline.run_folder import section
from search.problem.paired_error import describe_leads
from search.report.run_results import RunResults
from search.report.search_result import SearchResult
from search.utils.units import quantity
from space.arch import Arch
from space.cost import macs, params
from space.shape import BackboneShape
from space.space import SearchSpace
from space.utils.errors import InputError

PACKAGES = ("tokennas", "torch", "timm", "optuna", "matplotlib")


def summarise_run(results: RunResults) -> list[tuple[str, str]]:
    """Return names and texts of what is known of backbone, data, space, training and search."""
    search = results.search
    splits = {"search": results.search_images, "test": results.test_images}
    images = [f"{count:,} in the {name} split" for name, count in splits.items() if count]
    lines = [
        ("backbone", _describe_backbone(results)),
        ("data", _describe_data(results.config)),
        ("images", ", ".join(images)),
        ("space", "" if search is None or search.space is None else _describe_space(search.space)),
        ("supernet", f"{len(results.training)} epochs" if results.training else ""),
    ]
    if search is not None:
        failed = f", {search.front.failed} failed" if search.front.failed else ""
        sampler = f" by {search.sampler}" if search.sampler else ""
        names = ", ".join(f"{each.name} ({each.direction})" for each in search.front.objectives)
        lines += [
            ("search", f"{search.front.evaluations:,} evaluations{failed}{sampler}, for {names}"),
            ("budget", ", ".join(_describe_limits(search)) or "none"),
            ("front", _describe_front(search.front)),
        ]
    if results.config:
        lines.append(("command", _run_command(results)))
    return [(name, text) for name, text in lines if text]


def describe_loading(results: RunResults) -> str:
    """Return Python code that loads the largest found network with a file, if any."""
    saved = [each for each in results.networks if each.file is not None]
    if not saved:
        return ""
    best = min(saved, key=lambda each: (each.is_full, each.is_control, -each.macs))
    weights = f', weights="{best.weights}"' if best.weights else ""
    return (
        f"# in the folder of the run, {results.run.name}/\n"
        "from supernet import create_subnet\n"
        f'subnet = create_subnet("{best.file}"{weights}).eval()   # {best.label}'
    )


def describe_versions() -> str:
    """Return the versions of the packages that made the report."""
    found = []
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            found.append(f"{name} {version(name)}")
    return f"{', '.join(found)}, Python {platform.python_version()}"


def _describe_backbone(results: RunResults) -> str:
    backbone = section(results.config, "backbone")
    words = [str(backbone["model"])] if "model" in backbone else []
    args = backbone.get("args")
    if isinstance(args, dict) and args:
        words.append(f"({', '.join(f'{name}={value}' for name, value in args.items())})")
    text, shape = " ".join(words), _find_shape(results)
    if shape is None:
        return text
    full = Arch.full(shape.depth)
    sizes = (
        f"{shape.depth} blocks, {shape.grid[0]} x {shape.grid[1]} patch tokens of {shape.width} "
        f"channels, {quantity(macs(full, shape))} MACs, {quantity(params(full, shape))} parameters"
    )
    return f"{text}: {sizes}" if text else sizes


def _find_shape(results: RunResults) -> BackboneShape | None:
    if results.search is not None:
        return results.search.front.shape
    return results.networks[0].shape if results.networks else None


def _describe_data(config: Mapping[str, Any]) -> str:
    dataset = section(section(config, "data"), "dataset")
    name, root = str(dataset.get("name", "")), dataset.get("root")
    return f"{name} {root}" if root and name in ("folder", "tar") else name


def _describe_space(space: SearchSpace) -> str:
    axes = [name for name, axis in space.to_dict().items() if axis]
    return f"{space.size():,} distinct archs ({', '.join(axes) or 'nothing to choose'})"


def _describe_limits(search: SearchResult) -> Iterator[str]:
    shape = search.front.shape
    for name, limit in search.limits.items():
        text = f"{name} {_bound(search.front, name)} {quantity(limit)}"
        if name == "macs":
            share = limit / macs(Arch.full(shape.depth), shape)
            text += f" ({share:.0%} of the full network, {quantity(2 * limit)} FLOPs)"
        yield text


def _bound(front: Front, name: str) -> str:
    try:
        return "at most" if front.direction(name) == "min" else "at least"
    except InputError:
        # Unfinished searches of earlier versions did not store directions.
        return "within"


def _describe_front(front: Front) -> str:
    """Describe the number of subnets, and how many are told apart."""
    ended = f": {front.ended}" if front.ended else ""
    leads = f" {describe_leads(front.leads)}" if any(front.leads) else ""
    return f"{len(front)} subnets{ended}.{leads}"


def _run_command(results: RunResults) -> str:
    """Format the command that continues the run."""
    run = results.title if results.run.is_absolute() else str(results.run)
    words = ["tokennas", "run", f"{run}/config.yaml", "--run", run]
    words += [] if results.name == SearchConfig.name else ["--search.name", results.name]
    return shlex.join(words)
