"""How fast exported subnets are beside the subnet itself: onnxruntime and torch.export on the CPU.

    python benchmarks/export_speed.py [--model NAME] [--archs full,skip] [--json FILE]

Made-up weights and images in float32, interleaved, medians; as many threads each as torch has
(OMP_NUM_THREADS); a ratio below 1 is quicker than the subnet. Needs `pip install '.[onnx]'`.
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
# Between two runtimes, and how long one of them has its turn at least.
PAUSE, TURN_MS = 0.1, 200.0


def archs_of(shape: BackboneShape) -> dict[str, Arch]:
    """One of each kind, where the others are plain."""
    depth, grid = shape.depth, shape.grid
    half = (-(-grid[0] // 2), -(-grid[1] // 2))
    between = (-(-3 * grid[0] // 4), -(-3 * grid[1] // 4))
    cycle = {
        "full": [OWN],
        "skip": [OWN, BlockArch(skip=0.5)],
        "skip in runs": [OWN, *[BlockArch(skip=0.5, selector="cls")] * 3],
        "share": [OWN, SHARED],
    }
    found = {name: [row[i % len(row)] for i in range(depth)] for name, row in cycle.items()}
    found["pool"] = [OWN] * depth
    for third, target in ((1, between), (2, half)):
        found["pool"][third * depth // 3] = BlockArch(pool=Pool("avg2d", grid=target))
    return {name: Arch(tuple(blocks)) for name, blocks in found.items()}


def space_of(shape: BackboneShape) -> SearchSpace:
    grids = sorted({block.pool.grid for block in archs_of(shape)["pool"].blocks if block.pool})
    return SearchSpace.from_dict(
        {
            "pool": {"kinds": ["avg2d"], "grids": list(map(list, grids)), "max_pools": 2},
            "share": {"max_run": 1},
            "skip": {"ratios": [0.5], "selectors": ["map", "cls"], "max_run": 3},
        },
        shape,
    )


def runtimes(subnet):
    """The subnet and its exported twins, each from images to logits."""
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


def measure(found, images, seconds: float) -> dict[str, float]:
    """Median milliseconds of each, taking turns for about so many seconds each."""
    taken: dict[str, list[float]] = {name: [] for name in found}
    with torch.inference_mode():
        expected = found["subnet"](images)
        for network in found.values():
            # Also the warm-up.
            torch.testing.assert_close(network(images), expected, rtol=1e-3, atol=1e-3)
        while min(map(len, taken.values())) < 3 or sum(map(sum, taken.values())) < (
            1e3 * seconds * len(found)
        ):
            for name, network in found.items():
                taken[name] += turn(network, images)
    return {name: statistics.median(each) for name, each in taken.items()}


def turn(network, images) -> list[float]:
    """Milliseconds of one long call, or of some short ones after a first that does not count.

    Threads of the runtime before spin for a while, waiting for more, and would slow this one:
    without the pause onnxruntime made the subnet look two to three times slower at batch 1.
    """
    time.sleep(PAUSE)
    taken: list[float] = []
    while sum(taken) < TURN_MS:
        began = time.perf_counter()
        network(images)
        taken.append(1e3 * (time.perf_counter() - began))
    return taken[1:] or taken


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="deit_tiny_patch16_224")
    parser.add_argument("--args", type=json.loads, default={}, help="of the model, as JSON")
    parser.add_argument("--archs", default="", help="names, with commas; by default all")
    parser.add_argument("--batches", default="1,64")
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args(argv)
    torch.manual_seed(0)
    backbone = timm.create_model(options.model, **options.args)
    shape = backbone_shape(backbone)
    net = Supernet(backbone, space_of(shape)).eval().requires_grad_(False)
    archs = archs_of(shape)
    wanted = options.archs.split(",") if options.archs else list(archs)
    sizes = list(map(int, options.batches.split(",")))
    rows = []
    threads = torch.get_num_threads()
    print(f"{options.model}, {threads} threads, milliseconds")
    print(
        f"{'arch':16} {'of full':>7} {'batch':>5} {'subnet':>8} {'export':>14} {'onnxruntime':>14}"
    )
    for name in wanted:
        found = runtimes(extract(net, archs[name]))
        share = macs(archs[name], shape) / macs(net.space.largest(), shape)
        for batch in sizes:
            images = torch.randn(batch, backbone.in_chans, *backbone.patch_embed.img_size)
            taken = measure(found, images, options.seconds)
            base = taken["subnet"]
            rows.append({"arch": name, "share": share, "batch": batch, "ms": taken})
            others = [f"{taken[key]:8.1f} {taken[key] / base:5.2f}" for key in list(taken)[1:]]
            print(f"{name:16} {share:7.0%} {batch:5} {base:8.1f} {' '.join(others)}", flush=True)
    if options.json is not None:
        text = json.dumps({"model": options.model, "threads": threads, "rows": rows})
        options.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
