"""Errors of the retrained depth networks of a run, by their size in the image.

    python benchmarks/error_scales.py CONFIG [--run DIR] [--search.name NAME] [ROWSxCOLUMNS ...]

The error of a map is split into its means over the cells of coarser and finer grids: that over the
whole image, what each grid adds, and what is left within the cells of the last one. The parts of
the mean squared error add up where each grid divides the cells of the one before. Printed for each
network that was retrained for the search: the parts in square metres, averaged over the test images
(inside `task.crop`), and what they add to those of the full network, with the standard error over
the images.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import torch

from search.cli.parse import parse_call
from search.pipeline.context import RunContext
from supernet import create_subnet

GRID = r"\d+x\d+"
GRIDS = ((3, 3), (9, 6), (9, 12), (18, 24))


def number_cells(size, grid):
    """Return the cell of each pixel of a map (H, W), by its number, (H * W,)."""
    row, column = (torch.arange(s) * cells // s for s, cells in zip(size, grid, strict=True))
    return (row[:, None] * grid[1] + column).flatten()


def split_error(error, valid, grids):
    """Split the mean squared error of maps (B, H, W); return its parts (B, 2 + grids)."""
    size, b = error.shape[-2:], len(error)
    valid = valid.flatten(1).double()
    error = error.flatten(1).double().where(valid > 0, 0.0)
    pixels, so_far = valid.sum(dim=1), []
    for rows, columns in ((1, 1), *grids):
        cells = number_cells(size, (rows, columns)).expand(b, -1)
        zeros = error.new_zeros(b, rows * columns)
        total, count = (zeros.scatter_add(1, cells, each) for each in (error, valid))
        so_far.append((total.square() / count.clamp(min=1)).sum(dim=1) / pixels)
    so_far.append(error.square().sum(dim=1) / pixels)
    return torch.diff(torch.stack(so_far, dim=1), dim=1, prepend=error.new_zeros(b, 1))


def measure(run, network, grids):
    """Return the parts of the error of each test image, (images, 2 + grids)."""
    test, parts = run.test.with_amp(run.decide_autocast(run.config.retrain.amp)), []
    for batch, output in test.outputs(network):
        depth = run.task.predict(output, batch.targets.shape[-2:])
        depth = depth.clamp(run.task.min_depth, run.task.max_depth)
        depth, truth = run.task.crop_maps(depth), run.task.crop_maps(batch.targets)
        valid = (truth >= run.task.min_depth) & (truth <= run.task.max_depth)
        parts.append(split_error(depth - truth, valid, grids))
    return torch.cat(parts).numpy()


def main() -> None:
    words = [each for each in sys.argv[1:] if not re.fullmatch(GRID, each)]
    texts = [each for each in sys.argv[1:] if re.fullmatch(GRID, each)]
    grids = [tuple(map(int, each.split("x"))) for each in texts] or GRIDS
    call = parse_call(["search", *words])
    if call.config.task_name != "depth":
        sys.exit("only the errors of depth have a size in the image")
    run = RunContext(call.config, call.file)
    pattern = f"retrain/{call.config.search.name}/*/arch.yaml"
    folders = sorted(each.parent for each in Path(run.folder.path).glob(pattern))
    if "full" not in {each.name for each in folders}:
        sys.exit("the full network is not among the retrained ones: see retrain.full")
    found = {}
    for each in folders:
        network = create_subnet(each / "arch.yaml", each / "subnet.safetensors")
        found[each.name] = measure(run, network.to(run.device).eval(), grids)
    names = ["image", *(f"{rows}x{columns}" for rows, columns in grids), "pixels", "all"]
    print(f"{'m^2':24s}" + "".join(f"{name:>16s}" for name in names))
    for name, parts in found.items():
        values = [*parts.mean(axis=0), parts.sum(axis=1).mean()]
        print(f"{name:24s}" + "".join(f"{each:16.4f}" for each in values))
    print("\nmore than the full network")
    full = found.pop("full")
    for name, parts in found.items():
        more = parts - full
        more = np.concatenate([more, more.sum(axis=1, keepdims=True)], axis=1)
        errors = more.std(axis=0, ddof=1) / len(more) ** 0.5
        pairs = zip(more.mean(axis=0), errors, strict=True)
        print(f"{name:24s}" + "".join(f"{each:9.4f} ±{error:.4f}" for each, error in pairs))


if __name__ == "__main__":
    main()
