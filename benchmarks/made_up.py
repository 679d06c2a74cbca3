"""What the search's own speed is measured with: DeiT-S with every axis, 34 genes, and a pretended
accuracy that differs from arch to arch as a measured one does."""

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


def pretend(arch):
    """Metrics without a network: more MACs are better, shared blocks a little worse."""
    shared = sum(block.shared for block in arch.blocks)
    return {"top1": macs(arch, SPACE.shape) ** 0.1 - 0.01 * shared}
