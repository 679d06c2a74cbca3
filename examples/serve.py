"""Serves images at a changing load with one set of weights: higher load, smaller network.

    python examples/serve.py [--portfolio runs/quickstart/export/main/portfolio]

Without a portfolio (`tokennas export CONFIG --format portfolio` writes one) the weights are random:
then the times are real, the predictions are not.
"""

import argparse
import queue
import statistics
import threading
import time
from dataclasses import replace
from pathlib import Path

import torch
from timm.models.vision_transformer import VisionTransformer

from search import Portfolio, run_search
from space import InputError, SearchSpace, token_counts
from supernet import Supernet, backbone_shape

DEADLINE_MS = 100.0
MAX_BATCH = 16
LOADS = (0.3, 1.5, 0.3)  # as shares of the capacity of the best network


def make_untrained() -> Portfolio:
    """Return an untrained portfolio, whose front trades patch tokens against MACs."""
    torch.manual_seed(0)
    model = VisionTransformer(img_size=64, patch_size=8, embed_dim=96, depth=6, num_heads=3)
    space = SearchSpace.from_dict(
        {"pool": {"kinds": ["avg2d"], "grids": [6, 4, 2], "max_pools": 2}, "share": {"max_run": 1}},
        backbone_shape(model),
    )
    front = run_search(
        space=space,
        evaluate=lambda arch: {"tokens_kept": float(sum(token_counts(arch, space.shape)))},
        objectives=("tokens_kept=max", "macs"),
        trials=24,
    )
    return Portfolio(Supernet(model, space).eval(), front)


def make_images(portfolio: Portfolio, count: int) -> torch.Tensor:
    """Return random images (count, C, H, W) for the networks."""
    model = portfolio.model
    return torch.rand(count, model.in_chans, *model.patch_embed.img_size)


def add_times(portfolio: Portfolio, repeats: int = 3) -> Portfolio:
    """Return the portfolio with a metric `ms`, each subnet's milliseconds an image here."""
    images, times = make_images(portfolio, MAX_BATCH), {subnet: [] for subnet in portfolio}
    for _ in range(repeats):
        for subnet, milliseconds in times.items():
            began = time.perf_counter()
            subnet(images)
            milliseconds.append(1e3 * (time.perf_counter() - began) / MAX_BATCH)
    entries = tuple(
        replace(each.entry, metrics={**each.entry.metrics, "ms": statistics.median(milliseconds)})
        for each, milliseconds in times.items()
    )
    return Portfolio(portfolio.model, replace(portfolio.front, entries=entries))


def send_requests(requests: queue.Queue, images: torch.Tensor, rate: float, seconds: float) -> None:
    """Put `rate` images a second into the queue, each with its time; then None."""
    began = time.perf_counter()
    for i in range(int(rate * seconds)):
        time.sleep(max(0.0, began + i / rate - time.perf_counter()))
        requests.put((time.perf_counter(), images[i % len(images)]))
    requests.put(None)


def serve(portfolio: Portfolio, requests: queue.Queue) -> list[tuple[float, float]]:
    """Answer all requests; return (milliseconds to the answer, MACs) for each image."""
    fastest = min(portfolio, key=lambda each: each.entry.metrics["ms"])
    answers, more = [], True
    while more or not requests.empty():
        batch = [requests.get()]
        while len(batch) < MAX_BATCH and batch[-1] is not None and not requests.empty():
            batch.append(requests.get())
        if batch[-1] is None:
            more = bool(batch.pop())
        if not batch:
            continue
        remaining = DEADLINE_MS - 1e3 * (time.perf_counter() - batch[0][0])
        try:
            # All waiting images should be answered before the first one is late.
            subnet = portfolio.at(ms=remaining / max(MAX_BATCH, len(batch) + requests.qsize()))
        except InputError:
            subnet = fastest
        subnet(torch.stack([image for _, image in batch]))
        now, macs = time.perf_counter(), subnet.entry.metrics["macs"]
        answers += [(1e3 * (now - arrival), macs) for arrival, _ in batch]
    return answers


def main(portfolio: Portfolio, seconds: float) -> list[list[tuple[float, float]]]:
    """Serve each load for some seconds and print the results."""
    portfolio = add_times(portfolio)
    images, best = make_images(portfolio, 64), portfolio.at().entry.metrics
    print(f"{len(portfolio)} subnets, {DEADLINE_MS:.0f} ms for an answer")
    print("images/s  answered  late  median ms  MACs, share of best")
    results = []
    for load in LOADS:
        rate, requests = load * 1e3 / best["ms"], queue.Queue()
        sender = threading.Thread(target=send_requests, args=(requests, images, rate, seconds))
        sender.start()
        answers = serve(portfolio, requests)
        sender.join()
        latencies, macs = zip(*answers, strict=True)
        late = sum(each > DEADLINE_MS for each in latencies) / len(latencies)
        middle, share = statistics.median(latencies), statistics.mean(macs) / best["macs"]
        print(f"{rate:8.0f}  {len(latencies):8}  {late:4.0%}  {middle:9.1f}  {share:19.0%}")
        results.append(answers)
    return results


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--portfolio", type=Path, default=None)
    parser.add_argument("--seconds", type=float, default=5.0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    main(
        Portfolio.load(options.portfolio) if options.portfolio else make_untrained(),
        options.seconds,
    )
