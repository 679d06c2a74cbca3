"""The head and foot of a report: a summary of the run, and how to load its networks."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
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
from space.space import SearchSpace
from space.utils.errors import InputError


def summarise_run(results: RunResults) -> list[tuple[str, str]]:
    """Summarise backbone, data, space, training and search as pairs of name and text."""
    search = results.search
    test_images = next((each.test_images for each in results.networks if each.test_images), None)
    splits = {"search": search and search.front.images, "test": test_images}
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
    """Return Python code that loads the largest subnet with a file, if any."""
    with_file = [each for each in results.networks if each.file is not None]
    if not with_file:
        return ""
    chosen = min(with_file, key=lambda each: (each.is_full, each.is_control, -each.macs))
    weights = f', weights="{chosen.weights}"' if chosen.weights else ""
    return (
        f"# in the folder of the run, {results.run.name}/\n"
        "from supernet import create_subnet\n"
        f'subnet = create_subnet("{chosen.file}"{weights}).eval()   # {chosen.label}'
    )


def _describe_backbone(results: RunResults) -> str:
    backbone = section(results.config, "backbone")
    words = [str(backbone["model"])] if "model" in backbone else []
    words += [f"{name}={value}" for name, value in section(backbone, "args").items()]
    shapes = [each.shape for each in results.networks]
    if results.search is not None:
        shapes.append(results.search.front.shape)
    if shapes:
        shape = shapes[-1]
        full = Arch.full(shape.depth)
        words.append(
            f"{shape.depth} blocks, {shape.grid[0]} x {shape.grid[1]} patch tokens of "
            f"{shape.width} channels, {quantity(macs(full, shape))} MACs, "
            f"{quantity(params(full, shape))} parameters"
        )
    return ", ".join(words)


def _describe_data(config: Mapping[str, Any]) -> str:
    dataset = section(section(config, "data"), "dataset")
    return " ".join(str(dataset[key]) for key in ("name", "root") if dataset.get(key))


def _describe_space(space: SearchSpace) -> str:
    axes = [name for name, axis in space.to_dict().items() if axis]
    return f"{space.size():,} distinct archs ({', '.join(axes) or 'no choices'})"


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
    """Describe the number of subnets, and which leads are significant."""
    ended = f": {front.ended}" if front.ended else ""
    leads = f" {describe_leads(front.leads)}" if any(front.leads) else ""
    return f"{len(front)} subnets{ended}.{leads}"


def _run_command(results: RunResults) -> str:
    """Format the command that continues the run, without the path to an absolute folder."""
    words = ["tokennas", "run", results.title if results.run.is_absolute() else str(results.run)]
    words += [] if results.name == SearchConfig.name else ["--search.name", results.name]
    return shlex.join(words)
