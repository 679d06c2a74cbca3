"""Speed of bfloat16 autocast relative to float32, by width, on one device.

    python benchmarks/autocast.py [--widths 64,96,...] [--depth 6] [--size 64] [--batch 16]
        [--rounds 9] [--device cpu] [--json FILE]

For each width, a supernet of a Vision Transformer with patches of 8 pixels: a training step of the
sandwich rule (the full network and a skipping arch, forward and backward, without an optimiser),
and inference of both. Float32 and autocast run interleaved in one process; each value is the median
over the rounds of the ratio within a round, with its quartiles. Above 1, autocast is faster.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median, quantiles

import torch
from timm.models.vision_transformer import VisionTransformer

from search.latency.measure import device_name, get_synchronize, time_interleaved
from space import Arch, BlockArch, SearchSpace
from supernet import Classification, Supernet, SupernetRecipe, backbone_shape
from supernet.data.loaders import Batch
from supernet.precision import LEAST_WIDTH, autocast, fast_devices
from supernet.training.sandwich import Sandwich

WIDTHS = "64,96,128,192,256,320,384,512,768"
CLASSES, HEAD_WIDTH, PATCH = 100, 32, 8
STEP, FULL, SKIPPING = "training step", "inference, full", "inference, skipping"


def make_supernet(width: int, depth: int, size: int) -> Supernet:
    """Make a supernet with heads of 64 channels; of 32 if the width is no multiple of 64."""
    torch.manual_seed(0)
    heads = width // (HEAD_WIDTH if width % (2 * HEAD_WIDTH) else 2 * HEAD_WIDTH)
    backbone = VisionTransformer(
        img_size=size,
        patch_size=PATCH,
        embed_dim=width,
        depth=depth,
        num_heads=heads,
        num_classes=CLASSES,
    )
    space = {"skip": {"ratios": [0.5], "selectors": ["map"]}}
    return Supernet(backbone, SearchSpace.from_dict(space, backbone_shape(backbone)))


def make_runs(supernet: Supernet, batch: Batch):
    """Return functions to time, by name and whether autocast is on."""
    task = Classification([str(label) for label in range(CLASSES)])
    depth, device = supernet.shape.depth, batch.images.device
    blocks = [BlockArch(), BlockArch(skip=0.5)]
    skipping = Arch(tuple(blocks[i % 2] for i in range(depth)))

    def train(sandwich: Sandwich) -> None:
        sandwich(batch, [skipping])

    def infer(arch: Arch, on: bool) -> None:
        with torch.inference_mode(), autocast(device, on):
            supernet(batch.images, arch)

    runs = {}
    for on in (False, True):
        recipe = replace(SupernetRecipe(), amp=on)
        runs[STEP, on] = partial(train, Sandwich(supernet, task, recipe))
        runs[FULL, on] = partial(infer, supernet.space.largest(), on)
        runs[SKIPPING, on] = partial(infer, skipping, on)
    return runs


def measure(width: int, args: argparse.Namespace, device: torch.device):
    """Return the milliseconds in float32 and the ratios with their quartiles, by name."""
    supernet = make_supernet(width, args.depth, args.size).to(device)
    images = torch.rand(args.batch, 3, args.size, args.size, device=device)
    targets = torch.arange(args.batch, device=device) % CLASSES
    batch = Batch(images, targets, torch.arange(args.batch) / args.batch)
    taken = time_interleaved(make_runs(supernet, batch), args.rounds, get_synchronize(device))
    figures = {}
    for name in (STEP, FULL, SKIPPING):
        ratios = [
            one / other
            for one, other in zip(*(taken[name, on] for on in (False, True)), strict=True)
        ]
        figures[name] = {
            "ms": median(taken[name, False]) * 1e3,
            "ratios": quantiles(ratios, n=4, method="inclusive"),
        }
    return figures


def main(argv: list[str] | None = None) -> None:
    args = arguments(argv)
    device = torch.device(args.device)
    fast = "fast" if device.type in fast_devices() else "not fast"
    tokens = (args.size // PATCH) ** 2 + 1
    print(
        f"{device_name(device)}, {fast} in bfloat16; depth {args.depth}, {tokens} tokens, batch "
        f"{args.batch}; `auto` begins at width {LEAST_WIDTH} on CPUs"
    )
    print(f"{'width':>5}", *(f"{name:>30}" for name in (STEP, FULL, SKIPPING)))
    rows = {}
    for width in map(int, args.widths.split(",")):
        rows[width] = measure(width, args, device)
        print(
            f"{width:5}", *(f"{format_cell(cell):>30}" for cell in rows[width].values()), flush=True
        )
    if args.json:
        result = {"device": device_name(device), **vars(args), "rows": rows}
        Path(args.json).write_text(json.dumps(result, indent=1), encoding="utf-8")


def format_cell(cell) -> str:
    first, middle, third = cell["ratios"]
    return f"{cell['ms']:.1f} ms  {middle:.2f} ({first:.2f}-{third:.2f})"


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--widths", default=WIDTHS)
    parser.add_argument("--depth", type=int, default=6)
    parser.add_argument("--size", type=int, default=64, help="side of the images")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json")
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()
