"""What was run, in words and numbers, for the head and the foot of a report."""

from __future__ import annotations

import json
import platform
import shlex
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from search.budget import quantity
from search.folder import section
from search.front import Front
from search.leads import what_leads_are
from search.report.choices import Choice
from search.report.contents import Contents
from search.report.searches import SearchResult
from space.arch import Arch
from space.cost import macs, params
from space.shape import BackboneShape
from space.utils.errors import InputError

SPLIT = "search_split.json"
PACKAGES = ("tokennas", "torch", "timm", "optuna", "matplotlib")


def what_was_run(contents: Contents) -> list[tuple[str, str]]:
    """Backbone, data, space, training, search and budget, as far as they are known."""
    shape = _shape(contents)
    search, config = contents.search, contents.config
    found = [
        ("backbone", _backbone(config, shape)),
        ("data", _data(config)),
        ("images", _images(contents)),
        ("space", _space(contents)),
        ("supernet", f"{len(contents.training)} epochs" if contents.training else ""),
    ]
    if search is not None:
        failed = f", {search.front.failed} failed" if search.front.failed else ""
        sampler = f" by {search.sampler}" if search.sampler else ""
        names = ", ".join(f"{each.name} ({each.direction})" for each in search.front.objectives)
        found += [
            ("search", f"{search.front.evaluations:,} evaluations{failed}{sampler}, for {names}"),
            ("budget", _budget(search)),
            ("front", _front(search.front)),
        ]
    if config:
        found.append(("command", _command(contents)))
    return [(name, text) for name, text in found if text]


def how_to_load(contents: Contents) -> str:
    """Lines of Python for the most interesting network that has a file; else nothing."""
    ready = [each for each in contents.choices if each.file is not None]
    ranked = sorted(ready, key=lambda each: (each.full, each.control, -each.macs))
    if not ranked:
        return ""
    best: Choice = ranked[0]
    weights = f', weights="{best.weights}"' if best.weights else ""
    return (
        f"# in the folder of the run, {contents.run.name}/\n"
        "from supernet import create_subnet\n"
        f'subnet = create_subnet("{best.file}"{weights}).eval()   # {best.label}'
    )


def versions() -> str:
    """Versions of what made the report."""
    found = []
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return f"{', '.join(found)}, Python {platform.python_version()}"


def _shape(contents: Contents) -> BackboneShape | None:
    if contents.search is not None:
        return contents.search.front.shape
    return contents.choices[0].shape if contents.choices else None


def _backbone(config: Mapping[str, Any], shape: BackboneShape | None) -> str:
    given = section(config, "backbone")
    words = [str(given["model"])] if "model" in given else []
    args = given.get("args")
    if isinstance(args, dict) and args:
        words.append(f"({', '.join(f'{name}={value}' for name, value in args.items())})")
    text = " ".join(words)
    if shape is None:
        return text
    full = Arch.full(shape.depth)
    sizes = (
        f"{shape.depth} blocks, {shape.grid[0]} x {shape.grid[1]} patch tokens of {shape.width} "
        f"channels, {quantity(macs(full, shape))} MACs, {quantity(params(full, shape))} parameters"
    )
    return f"{text}: {sizes}" if text else sizes


def _data(config: Mapping[str, Any]) -> str:
    dataset = section(section(config, "data"), "dataset")
    name, root = str(dataset.get("name", "")), dataset.get("root")
    return f"{name} {root}" if root and name in ("folder", "tar") else name


def search_images(contents: Contents) -> int | None:
    """How many images the search split has; None where nothing says."""
    stored = contents.run / SPLIT
    if contents.search is not None and contents.search.front.images is not None:
        return contents.search.front.images
    try:
        return len(json.loads(stored.read_text(encoding="utf-8"))["indices"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _images(contents: Contents) -> str:
    """How many images figures are of."""
    tested = next((each.images for each in contents.choices if each.images), None)
    counts = {"search": search_images(contents), "test": tested}
    return ", ".join(f"{count:,} in the {name} split" for name, count in counts.items() if count)


def _front(front: Front) -> str:
    """How many there are, and how many are told apart."""
    ended = f": {front.ended}" if front.ended else ""
    leads = f" {what_leads_are(front.leads)}" if any(front.leads) else ""
    return f"{len(front)} subnets{ended}.{leads}"


def _command(contents: Contents) -> str:
    """What makes the run again, and goes on with it."""
    run = contents.run.resolve().name if contents.run.is_absolute() else contents.run
    words = ["tokennas", "run", f"{run}/config.yaml", "--run", f"{run}"]
    words += [] if contents.name == "main" else ["--search.name", contents.name]
    return shlex.join(words)


def _space(contents: Contents) -> str:
    if contents.space is None:
        return ""
    axes = [name for name, axis in contents.space.to_dict().items() if axis]
    return f"{contents.space.size():,} distinct archs ({', '.join(axes) or 'nothing to choose'})"


def _budget(search: SearchResult) -> str:
    words = []
    for name, limit in search.limits.items():
        text = f"{name} {_bound(search.front, name)} {quantity(limit)}"
        if name == "macs":
            shape = search.front.shape
            share = limit / macs(Arch.full(shape.depth), shape)
            text += f" ({share:.0%} of the full network, {quantity(2 * limit)} FLOPs)"
        words.append(text)
    return ", ".join(words) or "none"


def _bound(front: Front, name: str) -> str:
    try:
        return "at most" if front.direction(name) == "min" else "at least"
    except InputError:
        # A search of an earlier version, that has not ended: its files say nothing of directions.
        return "within"
