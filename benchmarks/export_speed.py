"""Speed of exported subnets relative to the subnet: onnxruntime and torch.export on the CPU.

    python benchmarks/export_speed.py [--model NAME] [--archs full,skip] [--json FILE]

Random weights and images in float32; medians of interleaved runs; all with torch's number of
threads (OMP_NUM_THREADS). A ratio below 1 is faster than the subnet. Needs `pip install '.[onnx]'`.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import time
from pathlib import Path

import onnxruntime
import timm
import torch

from space import Arch, BackboneShape, BlockArch, Pool, SearchSpace, macs
from supernet import Supernet, backbone_shape, extract
from supernet.export.programs import write_onnx, write_program

OWN, SHARED = BlockArch(), BlockArch(attention="shared")
SECONDS = 3.0
# Seconds between two runtimes, and minimum milliseconds of one.
PAUSE, TURN_MS = 0.1, 200.0


def make_archs(shape: BackboneShape) -> dict[str, Arch]:
    """Return one arch for each operator, by name."""
    depth, grid = shape.depth, shape.grid
    half = (-(-grid[0] // 2), -(-grid[1] // 2))
    middle = (-(-3 * grid[0] // 4), -(-3 * grid[1] // 4))
    cycle = {
        "full": [OWN],
        "skip": [OWN, BlockArch(skip=0.5)],
        "skip in runs": [OWN, *[BlockArch(skip=0.5, selector="cls")] * 3],
        "share": [OWN, SHARED],
    }
    archs = {name: [row[i % len(row)] for i in range(depth)] for name, row in cycle.items()}
    archs["pool"] = [OWN] * depth
    for third, target in ((1, middle), (2, half)):
        archs["pool"][third * depth // 3] = BlockArch(pool=Pool("avg2d", grid=target))
    return {name: Arch(tuple(blocks)) for name, blocks in archs.items()}


def make_space(shape: BackboneShape) -> SearchSpace:
    """Return a space that contains the archs."""
    grids = sorted({block.pool.grid for block in make_archs(shape)["pool"].blocks if block.pool})
    return SearchSpace.from_dict(
        {
            "pool": {"kinds": ["avg2d"], "grids": list(map(list, grids)), "max_pools": 2},
            "share": {"max_run": 1},
            "skip": {"ratios": [0.5], "selectors": ["map", "cls"], "max_run": 3},
        },
        shape,
    )


def make_networks(subnet):
    """Return the subnet and its exports by name, each a function from images to logits."""
    program = torch.export.load(io.BytesIO(write_program(subnet, ""))).module()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(
        write_onnx(subnet, ""), options, providers=["CPUExecutionProvider"]
    )
    return {
        "subnet": subnet,
        "torch.export": program,
        "onnxruntime": lambda x: torch.from_numpy(session.run(None, {"images": x.numpy()})[0]),
    }


def measure(networks, images, seconds: float) -> dict[str, float]:
    """Return the median milliseconds of each network, interleaved for about `seconds` each."""
    times: dict[str, list[float]] = {name: [] for name in networks}
    with torch.inference_mode():
        expected = networks["subnet"](images)
        for network in networks.values():
            # Also a warm-up.
            torch.testing.assert_close(network(images), expected, rtol=1e-3, atol=1e-3)
        while min(map(len, times.values())) < 3 or sum(map(sum, times.values())) < (
            1e3 * seconds * len(networks)
        ):
            for name, network in networks.items():
                times[name] += time_calls(network, images)
    return {name: statistics.median(each) for name, each in times.items()}


def time_calls(network, images) -> list[float]:
    """Return the milliseconds of one long call, or of short ones without the first.

    Idle threads of the previous runtime spin for a while and would slow this one: without the
    pause, onnxruntime made the subnet two to three times slower at batch 1.
    """
    time.sleep(PAUSE)
    times: list[float] = []
    while sum(times) < TURN_MS:
        began = time.perf_counter()
        network(images)
        times.append(1e3 * (time.perf_counter() - began))
    return times[1:] or times


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="deit_tiny_patch16_224")
    parser.add_argument(
        "--args", type=json.loads, default={}, help="for timm.create_model, as JSON"
    )
    parser.add_argument("--archs", default="", help="comma-separated names; by default all")
    parser.add_argument("--batches", default="1,64")
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args(argv)
    torch.manual_seed(0)
    backbone = timm.create_model(options.model, **options.args)
    shape = backbone_shape(backbone)
    net = Supernet(backbone, make_space(shape)).eval().requires_grad_(False)
    archs = make_archs(shape)
    names = options.archs.split(",") if options.archs else list(archs)
    sizes = list(map(int, options.batches.split(",")))
    rows = []
    threads = torch.get_num_threads()
    print(f"{options.model}, {threads} threads, milliseconds")
    print(f"{'arch':16} {'MACs':>7} {'batch':>5} {'subnet':>8} {'export':>14} {'onnxruntime':>14}")
    for name in names:
        networks = make_networks(extract(net, archs[name]))
        share = macs(archs[name], shape) / macs(net.space.largest(), shape)
        for batch in sizes:
            images = torch.randn(batch, backbone.in_chans, *backbone.patch_embed.img_size)
            times = measure(networks, images, options.seconds)
            base = times["subnet"]
            rows.append({"arch": name, "share": share, "batch": batch, "ms": times})
            others = [f"{times[key]:8.1f} {times[key] / base:5.2f}" for key in list(times)[1:]]
            print(f"{name:16} {share:7.0%} {batch:5} {base:8.1f} {' '.join(others)}", flush=True)
    if options.json is not None:
        text = json.dumps({"model": options.model, "threads": threads, "rows": rows})
        options.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
