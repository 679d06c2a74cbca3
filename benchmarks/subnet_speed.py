"""Time of subnets relative to their MACs and to the full timm model, on one device.

    python benchmarks/subnet_speed.py [--model deit_small_patch16_224] [--args JSON] [--device cpu]
        [--batch 64] [--dtype float32] [--compile] [--rounds 7] [--json FILE]

All networks run interleaved in one process; each value is the median over the rounds of the ratio
within a round. "Saved" is time saved / MACs saved. Peaks count the bytes of live tensors without
weights and images.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from statistics import median

import timm
import torch
from peaks import peak_bytes

from search.latency.conditions import Conditions
from search.latency.measure import compile_subnet, device_name, get_synchronize, time_interleaved
from space import Arch, BackboneShape, BlockArch, Pool, SearchSpace, macs
from space.arch import Grid
from supernet import Supernet, backbone_shape, extract
from supernet.operators.base import Flow

FULL, OWN, SHARED = "full", BlockArch(), BlockArch(attention="shared")


def pooling_grids(shape: BackboneShape) -> tuple[Grid, Grid]:
    """Return grids of half and a quarter of the patch tokens: 10 x 10 and 7 x 7 of 14 x 14."""
    height, width = shape.grid
    return (round(0.71 * height), round(0.71 * width)), (height // 2, width // 2)


def space_of(shape: BackboneShape) -> SearchSpace:
    """Return a space that contains the archs."""
    grids = [list(grid) for grid in pooling_grids(shape)]
    values = {
        "pool": {"kinds": ["avg2d"], "grids": grids, "max_pools": 2},
        "share": {"max_run": 3},
        "skip": {"ratios": [0.5, 0.75], "selectors": ["map", "cls"], "max_run": 3},
    }
    return SearchSpace.from_dict(values, shape)


def make_archs(shape: BackboneShape) -> dict[str, Arch]:
    """Return the archs to time, by name."""
    depth, (half, quarter) = shape.depth, pooling_grids(shape)

    def repeat(blocks: list[BlockArch]) -> Arch:
        return Arch(tuple(blocks[i % len(blocks)] for i in range(depth)))

    def skip(ratio: float, selector: str) -> BlockArch:
        return BlockArch(skip=ratio, selector=selector)

    pools = {depth // 3: half, 2 * depth // 3: quarter}
    early = {1: half, depth // 2: quarter}

    def pool(grids: dict[int, Grid]) -> Arch:
        blocks = (
            BlockArch(pool=Pool("avg2d", grid=grids[i])) if i in grids else OWN
            for i in range(depth)
        )
        return Arch(tuple(blocks))

    return {
        "skip 0.5 on alternate blocks, cls": repeat([OWN, skip(0.5, "cls")]),
        "skip 0.5 on alternate blocks, map": repeat([OWN, skip(0.5, "map")]),
        "skip 0.5 in runs of three, cls": repeat([OWN, *[skip(0.5, "cls")] * 3]),
        "skip 0.75 in runs of three, cls": repeat([OWN, *[skip(0.75, "cls")] * 3]),
        "two poolings": pool(pools),
        "two early poolings": pool(early),
        "alternating own and shared": repeat([OWN, SHARED]),
    }


def block_runs(supernet, images):
    """Return functions that run parts of the first blocks, by name."""
    x = supernet.embed(images)
    depth = supernet.shape.depth

    def steps(*blocks):
        return supernet.steps(Arch((*blocks, *[OWN] * (depth - len(blocks)))))

    def own(step, x=x):
        return lambda: supernet.run_step(0, step, Flow(x))

    plain = steps(OWN, OWN)
    runs = {"own block": own(plain[0])}
    pairs = {"two own blocks": plain[:2], "own and shared block": steps(OWN, SHARED)[:2]}
    for name, pair in pairs.items():
        runs[name] = lambda pair=pair: supernet.run_blocks(x, pair)
    for selector in ("cls", "map"):
        scoring, skipping = steps(OWN, BlockArch(skip=0.5, selector=selector))[:2]
        runs[f"own block that scores, {selector}"] = own(scoring)
        before = supernet.run_step(0, scoring, Flow(x))
        after = supernet.run_step(1, skipping, before)
        runs[f"top k and moves, {selector}"] = make_moves(supernet, before, skipping, after)
    return runs


def make_moves(supernet, flow, step, after):
    """Return a function that selects, gathers and scatters tokens, without the block."""
    (skip,) = step.actions

    def run():
        return skip.operator.apply(supernet, skip, flow, None).all_tokens()

    assert run().shape == after.x.shape
    return run


def main(argv: list[str] | None = None) -> None:
    args = arguments(argv)
    device = torch.device(args.device)
    torch.manual_seed(0)
    backbone = (
        timm.create_model(args.model, **json.loads(args.args))
        .to(device, getattr(torch, args.dtype))
        .eval()
    )
    shape = backbone_shape(backbone)
    supernet = Supernet(backbone, space_of(shape)).eval()
    archs = make_archs(shape)
    nets = {FULL: backbone, **{name: extract(supernet, arch) for name, arch in archs.items()}}
    if args.compile:
        nets = {name: compile_subnet(net, device) for name, net in nets.items()}
    size = (args.batch, 3, *backbone.patch_embed.img_size)
    images = torch.randn(size, device=device, dtype=getattr(torch, args.dtype))
    wait = get_synchronize(device)
    with torch.inference_mode():
        runs = {name: lambda net=net: net(images) for name, net in nets.items()}
        taken = time_interleaved(runs, args.rounds, wait, warm_up=1)
        rows = {name: row(name, archs, shape, taken) for name in archs}
        if not args.compile:
            parts = time_interleaved(block_runs(supernet, images), 3 * args.rounds, wait)
            peaks = {name: peak_bytes(run, device) for name, run in runs.items()}
            for name in archs:
                rows[name]["peak"] = peaks[name] / peaks[FULL]
            largest = shape.heads * (shape.patch_tokens + shape.prefix) ** 2 * args.batch
            one_map = largest * images.element_size() / peaks[FULL]
            figures = block_figures(parts) | {"one map / peak of full": one_map}
        else:
            figures = {}
    conditions = Conditions(device_name(device), args.batch, args.dtype, args.compile)
    full = median(taken[FULL])
    result = {
        "model": args.model,
        **asdict(conditions),
        "full_ms": full * 1e3,
        "subnets": rows,
        "blocks": figures,
    }
    show(result)
    if args.json:
        Path(args.json).write_text(json.dumps(result, indent=1), encoding="utf-8")


def row(name, archs, shape, taken) -> dict[str, float]:
    """Return the MACs, the time and their ratio of a subnet."""
    share = macs(archs[name], shape) / macs(Arch.full(shape.depth), shape)
    time = ratio(taken[name], taken[FULL])
    return {"macs": share, "time": time, "saved": (1 - time) / (1 - share)}


def ratio(some, others) -> float:
    """Return the median ratio of times over the rounds."""
    return median(one / other for one, other in zip(some, others, strict=True))


def block_figures(parts) -> dict[str, float]:
    """Return ratios of times of parts of blocks, by name."""
    own = parts["own block"]
    figures = {
        "own and shared / two own": ratio(parts["own and shared block"], parts["two own blocks"])
    }
    for selector in ("cls", "map"):
        scores = ratio(parts[f"own block that scores, {selector}"], own) - 1
        rest = ratio(parts[f"top k and moves, {selector}"], own)
        figures[f"scores / own block, {selector}"] = scores
        figures[f"top k and moves / own block, {selector}"] = rest
        figures[f"selection / own block, {selector}"] = scores + rest
    return figures


def show(result) -> None:
    mode = "compiled" if result["compiled"] else "eager"
    print(
        f"{result['model']}, batch {result['batch']}, {result['dtype']}, {mode}, "
        f"{result['device']}, {result['libraries']}: full network {result['full_ms']:.1f} ms"
    )
    print(f"{'subnet':36} {'MACs':>6} {'time':>6} {'saved':>6} {'peak':>6}")
    for name, each in result["subnets"].items():
        cells = (each.get(key) for key in ("macs", "time", "saved", "peak"))
        print(f"{name:36}", *(f"{'' if x is None else f'{x:.3f}':>6}" for x in cells))
    for name, value in result["blocks"].items():
        print(f"{name:36} {value:6.3f}")


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="deit_small_patch16_224")
    parser.add_argument("--args", default="{}", help="for timm.create_model, as JSON")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json")
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()
