"""Cost of a training step of the supernet relative to one of the timm model.

    python benchmarks/train_step.py [--config configs/deit_small_imagenet.yaml] [--batch 32]
        [--repeats 5] [--device auto] [--json FILE]

Medians of interleaved forward and backward passes on random images, without an optimiser. The archs
"alone" are those of the step, each with its own loss. Peaks count the bytes of live tensors without
weights, images and gradients.
"""

from __future__ import annotations

import argparse
import json
from functools import partial
from pathlib import Path
from statistics import median

import torch
from peaks import peak_bytes

from search.cli.parse import parse_call
from search.latency.measure import device_name, get_synchronize, time_interleaved
from search.pipeline.context import find_device
from space import SearchSpace
from supernet import Supernet, backbone_shape
from supernet.backbones.load import load_backbone
from supernet.data.loaders import Batch
from supernet.precision import autocast, decide_autocast
from supernet.tasks.classification import Classification
from supernet.training.sandwich import Sandwich, draw_archs

PLAIN, FULL, STEP = "timm's full network", "full network of the supernet", "sandwich step"


def main(argv: list[str] | None = None) -> None:
    args = arguments(argv)
    config = parse_call(["run", args.config, "--backbone.pretrained", "false"]).config
    assert config is not None
    device, recipe = find_device(args.device), config.supernet
    classes = int(config.backbone.args.get("num_classes", 1000))
    task = Classification([str(label) for label in range(classes)])
    plain = load_backbone(config.backbone, task, 0).backbone.to(device).train()
    space = SearchSpace.from_dict(config.space, backbone_shape(plain))
    supernet = Supernet(load_backbone(config.backbone, task, 0).backbone, space).to(device).train()
    images = torch.rand(args.batch, 3, *plain.patch_embed.img_size, device=device)
    targets = torch.arange(args.batch, device=device) % classes
    batch = Batch(images, targets, torch.arange(args.batch) / args.batch)
    on = decide_autocast(recipe.amp, device, supernet.shape.width).on
    sandwich = Sandwich(supernet, task, recipe)

    def run_alone(model, *arch) -> None:
        """Run one forward and backward pass."""
        with autocast(device, on):
            loss = task.loss(model(images, *arch), targets)
        loss.backward()

    wait, taken, peaks, shares = get_synchronize(device), {}, [], []
    for repeat in range(args.repeats):
        archs = [space.largest(), *draw_archs(space, 0, repeat, recipe)]
        runs = {
            PLAIN: partial(run_alone, plain),
            FULL: partial(sandwich, batch, []),
            STEP: partial(sandwich, batch, archs[1:]),
            **{f"arch {i}": partial(run_alone, supernet, arch) for i, arch in enumerate(archs)},
        }
        found = time_interleaved(runs, 1, wait, warm_up=int(not repeat), seed=repeat)
        for name, (seconds,) in found.items():
            taken.setdefault(name, []).append(seconds)
        shares.append(taken[STEP][-1] / sum(taken[f"arch {i}"][-1] for i in range(len(archs))))
        peaks.append(peak_bytes(runs[STEP], device) / peak_bytes(runs["arch 0"], device))
    result = {
        "config": Path(args.config).name,
        "device": device_name(device),
        "batch": args.batch,
        "archs": 2 + recipe.random_archs,
        "ms": {name: median(taken[name]) * 1e3 for name in (PLAIN, FULL, STEP)},
        "step / its archs alone": median(shares),
        "peak of a step / of the largest alone": median(peaks),
    }
    show(result)
    if args.json:
        Path(args.json).write_text(json.dumps(result, indent=1), encoding="utf-8")


def show(result) -> None:
    print(
        f"{result['config']}, batch {result['batch']} on {result['device']}, "
        f"{result['archs']} archs a step"
    )
    base = result["ms"][PLAIN]
    for name, ms in result["ms"].items():
        rate = result["batch"] / ms * 1e3
        print(f"{name:40} {ms:9.1f} ms {rate:8.1f} images/s {ms / base:6.2f}")
    for name in ("step / its archs alone", "peak of a step / of the largest alone"):
        print(f"{name:40} {result[name]:9.3f}")


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", default="configs/deit_small_imagenet.yaml")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json")
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()
