"""What a training step of the supernet costs beside a plain one of the timm model.

    python benchmarks/train_step.py [CONFIG] [BATCH] [REPEATS]

Forward and backward passes on made-up images, interleaved, medians; no optimiser. The subnets
"alone" are the same archs as those of the step, each with its own loss.
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path

import torch

from search.parsing import parse_call
from search.stages.setup import find_device
from space import SearchSpace
from supernet import Supernet, backbone_shape
from supernet.batches import Batch
from supernet.pretrained import load_backbone
from supernet.recipe import autocast
from supernet.sandwich import Sandwich, archs_of_step
from supernet.task import Classification


def main() -> None:
    path = sys.argv[1] if len(sys.argv) > 1 else "configs/deit_small_imagenet.yaml"
    size, repeats = (int(word) for word in (sys.argv[2:4] or (32, 5)))
    config = parse_call(["run", path, "--backbone.pretrained", "false"]).config
    assert config is not None
    device, recipe = find_device(config.device), config.supernet
    task = Classification([str(label) for label in range(1000)])
    plain = load_backbone(config.backbone, task, 0).backbone.to(device).train()
    space = SearchSpace.from_dict(config.space, backbone_shape(plain))
    supernet = Supernet(load_backbone(config.backbone, task, 0).backbone, space).to(device).train()
    images = torch.rand(size, 3, *plain.patch_embed.img_size, device=device)
    targets = torch.arange(size, device=device) % 1000
    batch = Batch(images, targets, torch.arange(size) / size)
    sandwich = Sandwich(supernet, task, recipe.amp, recipe.selector_share)

    def timed(run) -> float:
        began = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - began

    def alone(model, *arch) -> None:
        with autocast(device, recipe.amp):
            loss = task.loss(model(images, *arch), targets)
        loss.backward()

    names = (
        "timm's full network",
        "full network of the supernet",
        "sandwich step",
        "its archs alone",
    )
    taken: dict[str, list[float]] = {name: [] for name in names}
    for repeat in range(repeats + 1):
        archs = archs_of_step(space, 0, repeat, recipe.random_archs)
        found = (
            timed(lambda: alone(plain)),
            timed(lambda: sandwich(batch, [])),
            timed(lambda archs=archs: sandwich(batch, archs)),
            sum(
                timed(lambda arch=arch: alone(supernet, arch)) for arch in [space.largest(), *archs]
            ),
        )
        if repeat:
            for name, seconds in zip(names, found, strict=True):
                taken[name].append(seconds)
    print(f"{Path(path).name}, batch {size} on {device}, {2 + recipe.random_archs} archs a step")
    base = statistics.median(taken[names[0]])
    for name, seconds in taken.items():
        middle = statistics.median(seconds)
        print(
            f"{name:30} {middle * 1e3:9.1f} ms {size / middle:8.1f} images/s {middle / base:6.2f}"
        )


if __name__ == "__main__":
    main()
