"""Speed of costs, counting, drawing and decoding of archs, on one core, without torch.

    python benchmarks/space_speed.py [--json FILE]

DeiT-S with every kind of pooling, sharing and skipping, at 12 blocks and at 24.
"""

import argparse
import json
import platform
from collections.abc import Callable, Iterator
from pathlib import Path
from time import process_time
from typing import NamedTuple

import numpy as np

from space import Arch, BackboneShape, Genes, Part, SearchSpace, macs, params

OPERATORS = {
    "pool": {
        "kinds": ["avg2d", "max2d", "conv2d", "avg1d", "max1d", "conv1d"],
        "grids": [10, 7, 4],
        "strides": [2],
    },
    "share": {"max_run": 3},
    "skip": {"ratios": [0.25, 0.5, 0.75], "selectors": ["map", "cls"], "max_run": 3},
}
ARCHS = 20_000  # several times the capacity of the cache of costs


class Figure(NamedTuple):
    """One measurement; `upper` if the goal is an upper limit."""

    name: str
    depth: int
    value: float
    unit: str
    goal: float | None = None
    upper: bool = True

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached, if there is one."""
        return None if self.goal is None else (self.value <= self.goal) == self.upper


def deit_small(depth: int) -> BackboneShape:
    """Return the shape of DeiT-S with another depth."""
    return BackboneShape(
        depth=depth,
        width=384,
        heads=6,
        attention_width=384,
        grid=(14, 14),
        prefix=1,
        query_key=Part(294_912, 295_680),
        value_output=Part(294_912, 295_680),
        mlp=Part(1_179_648, 1_181_568),
        rest=Part(0, 1_536),
        stem=Part(57_802_752, 371_328),
        head=Part(384_000, 385_768),
        head_per_token=0,
    )


def time_call(run: Callable[[], object], times: int = 1) -> float:
    """Return the mean processor time of a call, which other load hardly changes."""
    start = process_time()
    for _ in range(times):
        run()
    return (process_time() - start) / times


def measure_cost_rate(space: SearchSpace, rng: np.random.Generator) -> float:
    """Return the number of different archs per second whose MACs and parameters are computed."""
    archs: dict[Arch, None] = {}
    while len(archs) < ARCHS:
        archs[space.sample(rng)] = None
    shape = space.shape
    return ARCHS / time_call(lambda: [(macs(arch, shape), params(arch, shape)) for arch in archs])


def time_banded_draw(space: SearchSpace, rng: np.random.Generator, width: float) -> float:
    """Return the mean milliseconds of a draw, over bands across the range of MACs."""
    bands = space.mac_bands
    span = bands.high - bands.low
    lows = [bands.low + span * part for part in np.linspace(0.1, 0.85, 16)]

    def draw() -> None:
        for low in lows:
            space.sample(rng, macs=(low, low + span * width))

    return time_call(draw, 50) / len(lows) * 1e3


def measure(depth: int) -> Iterator[Figure]:
    """Iterate over the figures of one depth; one-time computations come first."""
    rng, space = np.random.default_rng(0), SearchSpace.from_dict(OPERATORS, deit_small(depth))
    band = (0.0, 1e12)
    yield Figure("count", depth, time_call(space.size), "s", 1.0)
    yield Figure("first banded draw", depth, time_call(lambda: space.sample(rng, band)), "s")
    rate = measure_cost_rate(space, rng)
    yield Figure("macs + params", depth, rate, "/s", 20_000 if depth == 12 else None, upper=False)
    yield Figure("draw", depth, time_call(lambda: space.sample(rng), 2000) * 1e3, "ms")
    for width in (0.05, 0.005):
        time = time_banded_draw(space, rng, width)
        yield Figure(f"draw in a {width:.1%} band", depth, time, "ms", 1.0)
    genes = Genes(space)
    assignments = iter([genes.encode(space.sample(rng)) for _ in range(2000)])
    time = time_call(lambda: genes.decode(next(assignments)), 2000) * 1e3
    yield Figure("decode of genes", depth, time, "ms")


def main() -> None:
    parser = argparse.ArgumentParser(description="Speed of the space, on one core.")
    parser.add_argument("--json", type=Path, help="file for the figures")
    options = parser.parse_args()
    figures = [*measure(12), *measure(24)]
    print(f"{'operation':24} {'blocks':>6} {'figure':>12}      {'goal':>8}  met")
    for each in figures:
        goal = "" if each.goal is None else f"{'<' if each.upper else '>'} {each.goal:,g}"
        met = {None: "", True: "yes", False: "NO"}[each.met]
        print(f"{each.name:24} {each.depth:6} {each.value:12,.3f} {each.unit:4} {goal:>8}  {met}")
    if options.json:
        about = {"python": platform.python_version(), "machine": platform.machine()}
        saved = {**about, "figures": [{**each._asdict(), "met": each.met} for each in figures]}
        options.json.write_text(json.dumps(saved, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
