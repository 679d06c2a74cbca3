"""Toy runs for the tests of reports: folders as the stages leave them, made in a moment."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path

import numpy as np
from rich.console import Console

from search.front.front import Front
from search.report import make_report
from search.run import run_search
from space import Arch, BackboneShape, Part, SearchSpace, baselines, macs, save_arch, token_counts
from space.utils.yaml_file import write_yaml

BUDGETS = {"70%": 0.7, "50%": 0.5, "35%": 0.35}
SPEED = {"device": "cpu", "batch": 64, "dtype": "float32"}


def vit_shape(depth: int, width: int, heads: int, side: int, patch: int = 16) -> BackboneShape:
    """The integers of a plain ViT with a class token."""
    d, n = width, side * side
    pixels = 3 * patch * patch
    return BackboneShape(
        depth=depth,
        width=d,
        heads=heads,
        attention_width=d,
        grid=(side, side),
        prefix=1,
        query_key=Part(2 * d * d, 2 * d * d + 2 * d),
        value_output=Part(2 * d * d, 2 * d * d + 2 * d),
        mlp=Part(8 * d * d, 8 * d * d + 5 * d),
        rest=Part(0, 4 * d),
        stem=Part(n * pixels * d, pixels * d + d + (n + 2) * d),
        head=Part(10 * d, 10 * d + 10 + 2 * d),
        head_per_token=0,
    )


def deit_space() -> SearchSpace:
    """DeiT-S with all three axes."""
    values = {
        "pool": {"kinds": ["avg2d", "conv2d"], "grids": [10, 7], "max_pools": 2},
        "share": {"max_run": 2},
        "skip": {"ratios": [0.25, 0.5, 0.75], "selectors": ["map", "cls"], "max_run": 1},
    }
    return SearchSpace.from_dict(values, vit_shape(12, 384, 6, 14))


def digits_space() -> SearchSpace:
    """Eight blocks of width 64 over an 8 x 8 grid."""
    values = {
        "pool": {"kinds": ["avg2d", "conv2d"], "grids": [6, 4], "max_pools": 2},
        "share": {"max_run": 2},
        "skip": {"ratios": [0.25, 0.5, 0.75], "selectors": ["map"], "max_run": 2},
    }
    return SearchSpace.from_dict(values, vit_shape(8, 64, 4, 8, patch=4))


def made_up_top1(arch: Arch, space: SearchSpace) -> dict[str, float]:
    """A smooth made-up accuracy with a little noise that the arch alone decides."""
    tokens = np.array(token_counts(arch, space.shape)) / space.shape.patch_tokens
    weights = np.linspace(1.6, 0.5, len(tokens))
    shared = sum(block.shared for block in arch.blocks)
    skipped = sum(block.skip for block in arch.blocks)
    loss = 0.06 * float((weights * (1 - tokens) ** 1.5).mean()) + 0.0035 * shared
    noise = (int(space.identity(arch), 16) % 1000) / 1000 - 0.5
    top1 = 0.80 - loss - 0.002 * skipped + 0.006 * noise
    return {"top1": top1, "cross_entropy": -math.log(top1)}


def write_training(folder: Path, epochs: int, full_epochs: int = 0) -> None:
    """The log of a supernet's training."""
    folder.mkdir(parents=True, exist_ok=True)
    rng, rows = np.random.default_rng(0), []
    for epoch in range(epochs):
        x = epoch / max(epochs - 1, 1)
        row = {"epoch": epoch, "lr": 1e-3, "loss/largest": 2.3 * math.exp(-2.2 * x) + 0.2}
        row["loss/selectors"] = 0.12 * math.exp(-x) + 0.01 * rng.random()
        if epoch >= full_epochs:
            row |= {"loss/smallest": 0.7 * math.exp(-2 * x), "loss/random": 0.4 * math.exp(-2 * x)}
        ends = {"largest": 0.8, "smallest": 0.72, "37%": 0.755, "58%": 0.775, "79%": 0.788}
        for name, end in ends.items():
            row[f"top1/{name}"] = end - 0.6 * math.exp(-5 * x) + 0.006 * rng.random()
            row[f"cross_entropy/{name}"] = 1.0
        row |= {
            "recall/selector": 0.55 + 0.25 * x,
            "recall/previous map": 0.6 + 0.1 * x,
            "recall/class row": 0.58 + 0.09 * x,
            "recall/chance": 0.5,
            "images_per_second": 200.0,
            "seconds": 5.0,
        }
        rows.append(row)
    (folder / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_retrained(run: Path, name: str, choice: str, arch: Arch, space: SearchSpace) -> None:
    """A retrained network: arch file, log, and a file in the place of weights."""
    folder = run / "retrain" / name / choice
    folder.mkdir(parents=True)
    top1 = made_up_top1(arch, space)["top1"]
    share = macs(arch, space.shape) / macs(space.largest(), space.shape)
    save_arch(
        arch,
        folder / "arch.yaml",
        shape=space.shape,
        backbone={"model": "deit_small_patch16_224", "args": {"num_classes": 10}},
        metrics={
            "inherited": {"top1": top1 - 0.01, "cross_entropy": 0.9},
            "retrained": {"top1": top1 + 0.012 + 0.008 * (1 - share), "cross_entropy": 0.8},
            "images_per_second": {"value": round(400 / share, 1), **SPEED},
        },
    )
    (folder / "subnet.safetensors").write_bytes(b"")
    rows = [
        {
            "epoch": epoch,
            "loss/subnet": 0.9 * math.exp(-0.2 * epoch) + 0.3 / share,
            "top1/subnet": top1 - 0.01 + 0.02 * (1 - math.exp(-0.4 * epoch)),
            "images_per_second": 300.0,
        }
        for epoch in range(10)
    ]
    (folder / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_config(run: Path, space: SearchSpace, model: str, data: str) -> None:
    run.mkdir(parents=True, exist_ok=True)
    values = {
        "seed": 0,
        "backbone": {"model": model, "args": {"num_classes": 10}},
        "data": {"dataset": {"name": data}},
        "space": space.to_dict(),
    }
    write_yaml(run / "config.yaml", values)


def make_run(
    run: Path, space: SearchSpace, *, trials: int = 60, random: bool = True, hand_made: bool = True
) -> None:
    """A whole run: training, a search beside a random one, retrained networks."""
    write_config(run, space, "deit_small_patch16_224", "digits")
    write_training(run / "supernet", 30, full_epochs=8)
    samplers = {"main": {"name": "NSGAIISampler", "population_size": 20}}
    if random:
        samplers["random"] = {"name": "RandomSampler"}
    for name, sampler in samplers.items():
        front = run_search(
            space=space,
            evaluate=lambda arch: made_up_top1(arch, space),
            budget="macs=90%",
            trials=trials,
            sampler=sampler,
            folder=run / "search" / name,
        )
        if name == "main":
            main = front
    write_retrained(run, "main", "full", space.largest(), space)
    full = macs(space.largest(), space.shape)
    for choice, share in BUDGETS.items():
        best = main.best(macs=share * full)
        if best is not None:
            write_retrained(run, "main", choice, best.arch, space)
        for each in baselines(space, share * full) if hand_made else ():
            if each.arch is not None and choice == "50%":
                write_retrained(
                    run,
                    "main",
                    f"baseline {each.name} {choice}".replace("/", "-"),
                    each.arch,
                    space,
                )


SPACES = {"deit": deit_space(), "digits": digits_space()}


def searched(folder: Path, sampler: str, trials: int = 40, budget: str = "macs=80%") -> Front:
    space = SPACES["digits"]
    return run_search(
        space=space,
        evaluate=lambda arch: made_up_top1(arch, space),
        budget=budget,
        trials=trials,
        sampler=sampler,
        folder=folder,
    )


def report(run: Path, name: str = "main") -> tuple[str, str]:
    """The page and what the terminal shows."""
    out = io.StringIO()
    page = make_report(run, name, Console(file=out, width=140))
    return page.read_text(encoding="utf-8"), out.getvalue()
