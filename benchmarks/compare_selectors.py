"""Comparison of selectors on the trained supernet of a run: the same archs, chosen by each.

    python benchmarks/compare_selectors.py CONFIG [--run DIR] [ARCHS]

Draws archs that skip, evenly over their MACs, and lets each selector of the space choose the tokens
of all their runs. For each selector, and without skipping: the task's first metric on the search
split, averaged over the archs, and its difference to the selector `random` with the standard error
over the archs. Archs share the images, so the errors of single images are in all alike.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from statistics import mean, stdev

import numpy as np

from search.cli.parse import parse_call
from search.pipeline.context import RunContext
from search.pipeline.run_evaluator import RunEvaluator
from space import Arch

CONTROL = "random"


def with_selector(arch, selector):
    """Return the arch with one selector for all its runs."""
    blocks = (replace(each, selector=selector) if each.skip else each for each in arch.blocks)
    return Arch(tuple(blocks))


def draw_archs(space, count):
    """Draw distinct archs with skips, evenly over the MACs, in whose place each selector can be."""
    rng, archs = np.random.default_rng(0), {}
    selectors = space.axes["skip"].selectors
    for _ in range(100 * count):
        arch = space.canonical(with_selector(space.mac_bands.sample_evenly(rng), CONTROL))
        skips = any(each.skip for each in arch.blocks)
        if skips and all(with_selector(arch, name) in space for name in selectors):
            archs[space.identity(arch)] = arch
        if len(archs) == count:
            break
    return list(archs.values())


def main() -> None:
    words = sys.argv[1:]
    count = int(words.pop()) if words and words[-1].isdigit() else 40
    call = parse_call(["search", *words])
    if CONTROL not in call.config.space.get("skip", {}).get("selectors", ()):
        sys.exit(f"the space has no selector {CONTROL}, with which to compare")
    evaluate = RunEvaluator(RunContext(call.config, call.file).load_trained())()
    space, metric = evaluate.supernet.space, evaluate.held_out.task.metrics[0]
    archs, selectors = draw_archs(space, count), space.axes["skip"].selectors
    if not archs:
        sys.exit("found no arch in which each selector can be in the place of another")
    values = {}
    for name in selectors:
        chosen = [with_selector(arch, name) for arch in archs]
        evaluate.expect(chosen)
        values[name] = [evaluate(arch)[metric.name] for arch in chosen]
    full = evaluate(space.largest())[metric.name]
    print(f"{len(archs)} archs, {len(evaluate.held_out)} images; full network {full:.4f}\n")
    print(f"{'selector':10s}{metric.name:>10s}{'less random':>14s}{'+-':>9s}{'wins':>7s}")
    for name in selectors:
        gaps = [one - other for one, other in zip(values[name], values[CONTROL], strict=True)]
        better = [gap < 0 if metric.direction == "min" else gap > 0 for gap in gaps]
        error = stdev(gaps) / len(gaps) ** 0.5 if len(gaps) > 1 else float("nan")
        print(
            f"{name:10s}{mean(values[name]):10.4f}{mean(gaps):14.4f}{error:9.4f}"
            f"{sum(better):4d}/{len(gaps)}"
        )


if __name__ == "__main__":
    main()
