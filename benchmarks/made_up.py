"""Inputs of benchmarks of the search: DeiT-S with every operator (34 genes), and a synthetic
accuracy that differs from arch to arch like a measured one."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent / "tests" / "space"))

from space_toys import deit_small

from space import SearchSpace, macs

BUDGET = "macs=70%"
SPACE = SearchSpace.from_dict(
    {
        "pool": {"kinds": ["avg2d", "conv2d"], "grids": [10, 7, 5], "max_pools": 2},
        "share": {"max_run": 3},
        "skip": {"ratios": [0.25, 0.5, 0.75], "selectors": ["map", "cls"], "max_run": 2},
    },
    deit_small(12),
)


def evaluate_synthetic(arch):
    """Return a metric without a network: better for more MACs, worse for shared blocks."""
    shared = sum(block.shared for block in arch.blocks)
    return {"top1": macs(arch, SPACE.shape) ** 0.1 - 0.01 * shared}
