"""Cost of switching to another subnet of a portfolio between calls.

    python benchmarks/portfolio_switch.py [--model deit_tiny_patch16_224] [--args JSON]
        [--subnets 50] [--rounds 30] [--json FILE]

Random weights. Switch: microseconds of `portfolio.at(macs=...)`, over budgets of all sizes. A call
after a switch relative to the same call without one, batch 1: the ratio of their medians. Weights:
size of the portfolio's relative to the supernet's, for any number of subnets.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from pathlib import Path
from statistics import median

import timm
import torch
from subnet_speed import space_of

from search import Portfolio, run_search
from space import macs
from supernet import Supernet, backbone_shape


def make_portfolio(supernet: Supernet, subnets: int) -> Portfolio:
    """Return a portfolio of at most `subnets` subnets with different MACs."""
    front = run_search(
        space=supernet.space,
        evaluate=lambda arch: {"top1": macs(arch, supernet.shape)},
        objectives=("top1", "macs"),
        trials=subnets,
        sampler="RandomSampler",
    )
    return Portfolio(supernet, front)


def time_switches(portfolio: Portfolio, rounds: int) -> list[float]:
    """Return the seconds of each switch to the best subnet within a budget."""
    budgets = [entry.metrics["macs"] for entry in portfolio.front.entries] * rounds
    random.Random(0).shuffle(budgets)
    times = []
    for budget in budgets:
        began = time.perf_counter()
        portfolio.at(macs=budget)
        times.append(time.perf_counter() - began)
    return times


def time_subnets(portfolio: Portfolio, images: torch.Tensor, rounds: int) -> tuple[float, float]:
    """Return the median seconds of a call without a switch before it, and with one."""
    served = list(portfolio)
    one, other = served[0], served[len(served) // 2]
    same, after = [], []
    for _ in range(rounds):
        one(images)
        same.append(time_call(one, images))
        other(images)
        after.append(time_call(one, images))
    return median(same), median(after)


def time_call(served, images: torch.Tensor) -> float:
    """Return the seconds of a call."""
    began = time.perf_counter()
    served(images)
    return time.perf_counter() - began


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="deit_tiny_patch16_224")
    parser.add_argument(
        "--args", type=json.loads, default={}, help="for timm.create_model, as JSON"
    )
    parser.add_argument("--subnets", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args(argv)
    torch.manual_seed(0)
    backbone = timm.create_model(options.model, **options.args)
    supernet = Supernet(backbone, space_of(backbone_shape(backbone))).eval()
    before = sum(each.nbytes for each in supernet.parameters())
    portfolio = make_portfolio(supernet, options.subnets)
    seconds = time_switches(portfolio, options.rounds)
    images = torch.randn(1, backbone.in_chans, *backbone.patch_embed.img_size)
    same, after = time_subnets(portfolio, images, options.rounds)
    parts = {each.data_ptr(): each.nbytes for each in portfolio.model.parameters()}
    row = {
        "model": options.model,
        "subnets": len(portfolio),
        "switch_us": 1e6 * median(seconds),
        "slowest_switch_us": 1e6 * max(seconds),
        "call_ms": 1e3 * same,
        "call_after_a_switch": after / same,
        "weights": sum(parts.values()) / before,
    }
    for name, value in row.items():
        print(f"{name:20} {value if isinstance(value, str) else f'{value:.4g}'}")
    if options.json is not None:
        options.json.write_text(json.dumps(row) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
