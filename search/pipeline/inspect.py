"""Costs of a backbone, size of a space, and expected training time, before a run."""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import partial
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.markup import escape
from torch.utils.data import default_collate

from search.pipeline.check import check_problem
from search.pipeline.context import RunContext
from search.problem.feasible import FeasibleArchs
from search.utils.console import print_line, show_rows
from search.utils.units import duration, quantity
from space.arch import Arch
from space.cost import backbone_macs, backbone_params, macs, params
from space.operators.walk import initial_state
from space.shape import BackboneShape
from space.space import SearchSpace
from space.utils.errors import InputError
from supernet.backbones.vit import backbone_shape, create_backbone
from supernet.data.loaders import Batch
from supernet.training.sandwich import Sandwich, draw_archs

BARS = 12
# Images of a timed training step, where the batch of the config is no smaller.
PROBE_BATCH = 32
# Training images to open with their maps.
MAPS = 8
# Ratio of the shapes of image and input from which on a user is told that images are squashed.
SQUASHED = 1.2


def inspect_model(name: str, args: dict[str, Any], console: Console) -> None:
    """Show tokens, MACs and parameters of `timm.create_model(name, **args)`.

    Raises:
        InputError: timm does not know the model, or it is not supported, with the reason.
    """
    show_shape(name, backbone_shape(create_backbone(name, args)), console)


def inspect_config(run: RunContext) -> None:
    """Show backbone, data, space and expected training time of a config.

    Raises:
        InputError: The config is invalid; of the images only a few are read.
    """
    config, console = run.config, run.open().console
    show_shape(config.backbone.model, run.supernet.shape, console)
    data, test = run.data, len(run.data.test.dataset)  # type: ignore[arg-type]
    sizes = f"{len(data.train.images):,} train, {len(data.search_indices):,} search, {test:,} test"
    console.print(
        f"[bold]data[/] {escape(config.data.dataset.name)}: {run.task.contents}, {sizes} images"
    )
    show_maps(run)
    without_head = "backbone_macs" in str(config.search.budget)
    # Shown before a budget is refused, so that it shows which ones can be met, and what
    # `tokennas profile` will measure for one in milliseconds.
    show_space(run.supernet.space, console, without_head=without_head)
    show_budgets(check_problem(run), console)
    seconds = estimate_training(run)
    console.print(
        f"[bold]supernet[/] {config.supernet.epochs} epochs take about {duration(seconds)} on "
        f"{run.device}"
    )


def show_shape(name: str, shape: BackboneShape, console: Console) -> None:
    """Print the MACs and parameters of a backbone's parts."""
    full, state = Arch.full(shape.depth), initial_state(shape)
    n = state.tokens.patches + shape.prefix
    # MACs of Q K^T, and of the attention map times V.
    product = shape.attention_width * n * n
    parts = [
        ("stem", None, shape.stem.macs, shape.stem.params),
        ("query and key", n, n * shape.query_key.macs, shape.query_key.params),
        ("attention maps", n, product, 0),
        ("value and output", n, n * shape.value_output.macs + product, shape.value_output.params),
        ("MLP", n, n * shape.mlp.macs, shape.mlp.params),
        ("norms and the rest", n, 0, shape.rest.params),
    ]
    block = sum(part[2] for part in parts[1:]), sum(part[3] for part in parts[1:])
    total, backbone = macs(full, shape), backbone_macs(full, shape)
    parts += [
        (f"a block, of {shape.depth}", n, *block),
        ("without head", n, backbone, backbone_params(full, shape)),
        ("head", None, total - backbone, shape.head.params),
        ("whole", n, total, params(full, shape)),
    ]
    names = ("part", "tokens", "MACs", "parameters")
    rows = [dict(zip(names, part, strict=True)) for part in parts]
    show_rows(rows, console, title=name)
    console.print(
        f"{shape.grid[0]} x {shape.grid[1]} patch tokens and {shape.prefix} prefix tokens of "
        f"{shape.width} channels, {shape.heads} heads; {total:,} MACs are {2 * total:,} FLOPs\n"
    )


def show_maps(run: RunContext) -> None:
    """Print what a few training maps hold, evenly spread; nothing where targets are labels.

    Raises:
        InputError: One of them, or its image, cannot be read.
    """
    images = run.data.train.images
    if not images.source.has_maps:
        return
    positions = np.linspace(0, len(images) - 1, min(MAPS, len(images))).astype(int)
    samples = [images.source.read(int(i)) for i in images.indices[positions]]
    if text := run.task.describe_maps([target for _, target in samples]):
        print_line(run.console, text)
    height, width = run.supernet.patch_embed.img_size
    for image, _ in samples:
        ratio = image.width * height / (image.height * width)
        if max(ratio, 1 / ratio) > SQUASHED:
            print_line(
                run.console,
                f"images are {image.width} x {image.height} pixels (width x height), the input "
                f"{width} x {height}: they are squashed; backbone.args.img_size takes "
                "[height, width]",
            )
            break
    print_line(
        run.console,
        f"only these {len(samples)} of {len(images):,} training images and their maps were opened; "
        "`tokennas train` opens all files before it trains",
    )


def show_space(space: SearchSpace, console: Console, without_head: bool = False) -> None:
    """Print the size of a space, its rules, its range of MACs, and a histogram of its archs.

    Args:
        space: The space.
        console: The console.
        without_head: Whether the histogram is of MACs without the head, if that has the same for
            each arch.
    """
    bands, shape = space.mac_bands, space.shape
    without_head = without_head and not shape.head_per_token
    rules = f", by the rules {', '.join(space.rules.names)}" if space.rules else ""
    console.print(f"[bold]space[/] {space.size():,} distinct archs{rules}")
    for line in space.left_out():
        print_line(console, line)
    ranges = {"MACs": 0}
    if shape.has_dense_head or without_head:  # its MACs are the same for each arch
        ranges["MACs without head"] = shape.head.macs
    for name, head in ranges.items():
        least, most = bands.low - head, bands.high - head
        share = f"{least / most:.0%} of the full network"
        console.print(f"{name} from {quantity(least, 3)} ({share}) to {quantity(most, 3)}")
    name, head = list(ranges.items())[-1 if without_head else 0]
    console.print(f"number of archs by {name}, from the lower bound on:")
    counts = bands.histogram(BARS)
    largest = max(count.value for count in counts)
    low, step = bands.low - head, (bands.high - bands.low) / BARS
    for i, (archs, exact) in enumerate(counts):
        bar = "█" * round(40 * archs / largest)
        text = f"{archs:,}" if exact else f"about {archs:.2g}"
        console.print(f"{quantity(low + i * step, 3):>8} {bar} {text}", highlight=False)


def show_budgets(feasible: Iterable[FeasibleArchs], console: Console) -> None:
    """Print how many archs of a space are inside each budget on costs."""
    for each in {str(each.budget): each for each in feasible if each.budget.limits}.values():
        count, size = each.count(), each.space.size()
        text = "too many archs to count them"
        if count is not None:
            number = f"{count.value:,}" if count.exact else f"about {count.value:.2g}"
            text = f"{number} of {size:,} archs ({100 * count.value / size:.3g}%)"
        print_line(console, f"inside {each.budget}: {text}")


def estimate_training(run: RunContext) -> float:
    """Estimate the seconds of the supernet's training, from steps on a few random images."""
    config, supernet = run.config, run.supernet.train()
    recipe = run.supernet_recipe
    # A larger batch than training's may not fit in memory.
    size = min(PROBE_BATCH, config.data.batch)
    images = torch.rand(size, supernet.in_chans, *supernet.patch_embed.img_size)
    sample = run.data.train.images[0, 0]
    if isinstance(sample, InputError):
        raise sample
    targets = default_collate([sample[1]] * size)
    draws = torch.arange(size) / size
    batch = Batch(images.to(run.device), targets.to(run.device), draws)
    step = Sandwich(supernet, run.task, recipe)

    def seconds(archs: list[Arch]) -> float:
        began = time.perf_counter()
        step(batch, archs)
        if run.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - began

    draw = partial(draw_archs, supernet.space, config.seed, recipe=recipe)
    seconds(draw(step=0))  # warm-up
    full_epochs = recipe.full_epochs or 0
    per_batch = full_epochs * seconds([]) + (recipe.epochs - full_epochs) * seconds(draw(step=1))
    supernet.zero_grad()
    return per_batch / size * len(run.data.train.images)
