"""Serves images at a changing load by one set of weights: the busier, the smaller the network.

    python examples/serve.py [--portfolio runs/quickstart/export/main/portfolio]

Without a portfolio (`tokennas export CONFIG --format portfolio` writes one) the weights are made
up: then what it does with time is real, and what it sees in the images is not.
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
MOST = 16  # images of a batch
LOADS = (0.3, 1.5, 0.3)  # in units of what the best network alone could serve


def made_up() -> Portfolio:
    """A portfolio that nobody trained: its front trades made-up accuracy, tokens, against MACs."""
    torch.manual_seed(0)
    model = VisionTransformer(img_size=64, patch_size=8, embed_dim=96, depth=6, num_heads=3)
    space = SearchSpace.from_dict(
        {"pool": {"kinds": ["avg2d"], "grids": [6, 4, 2], "max_pools": 2}, "share": {"max_run": 1}},
        backbone_shape(model),
    )
    front = run_search(
        space=space,
        evaluate=lambda arch: {"kept": float(sum(token_counts(arch, space.shape)))},
        objectives=("kept=max", "macs"),
        trials=24,
    )
    return Portfolio(Supernet(model, space).eval(), front)


def images_for(portfolio: Portfolio, count: int) -> torch.Tensor:
    """Noise of the size that the networks expect."""
    model = portfolio.model
    return torch.rand(count, model.in_chans, *model.patch_embed.img_size)


def timed(portfolio: Portfolio, repeats: int = 3) -> Portfolio:
    """The same, with each subnet's milliseconds an image as they are on this machine."""
    images, taken = images_for(portfolio, MOST), {each: [] for each in portfolio}
    for _ in range(repeats):
        for served, times in taken.items():
            began = time.perf_counter()
            served(images)
            times.append(1e3 * (time.perf_counter() - began) / MOST)
    entries = tuple(
        replace(each.entry, metrics={**each.entry.metrics, "ms": statistics.median(times)})
        for each, times in taken.items()
    )
    return Portfolio(portfolio.model, replace(portfolio.front, entries=entries))


def ask(requests: queue.Queue, images: torch.Tensor, rate: float, seconds: float) -> None:
    """Put images into the queue, so many a second, with the time at which each came."""
    began = time.perf_counter()
    for i in range(int(rate * seconds)):
        time.sleep(max(0.0, began + i / rate - time.perf_counter()))
        requests.put((time.perf_counter(), images[i % len(images)]))
    requests.put(None)


def serve(portfolio: Portfolio, requests: queue.Queue) -> list[tuple[float, float]]:
    """Answer until there is nothing more to come: (milliseconds it took, MACs), by image."""
    quickest = min(portfolio, key=lambda each: each.entry.metrics["ms"])
    answered, more = [], True
    while more or not requests.empty():
        batch = [requests.get()]
        while len(batch) < MOST and batch[-1] is not None and not requests.empty():
            batch.append(requests.get())
        if batch[-1] is None:
            more = bool(batch.pop())
        if not batch:
            continue
        left = DEADLINE_MS - 1e3 * (time.perf_counter() - batch[0][0])
        try:
            # All that wait are to be served before the first of them is late.
            served = portfolio.at(ms=left / max(MOST, len(batch) + requests.qsize()))
        except InputError:
            served = quickest
        served(torch.stack([image for _, image in batch]))
        now, macs = time.perf_counter(), served.entry.metrics["macs"]
        answered += [(1e3 * (now - came), macs) for came, _ in batch]
    return answered


def main(portfolio: Portfolio, seconds: float) -> list[list[tuple[float, float]]]:
    """Serve each load for so many seconds and print what came of it."""
    portfolio = timed(portfolio)
    images, best = images_for(portfolio, 64), portfolio.at().entry.metrics
    print(f"{len(portfolio)} subnets, {DEADLINE_MS:.0f} ms for an answer")
    print("images/s  answered  late  median ms  MACs of the best")
    found = []
    for load in LOADS:
        rate, requests = load * 1e3 / best["ms"], queue.Queue()
        asking = threading.Thread(target=ask, args=(requests, images, rate, seconds))
        asking.start()
        answered = serve(portfolio, requests)
        asking.join()
        took, macs = zip(*answered, strict=True)
        late = sum(each > DEADLINE_MS for each in took) / len(took)
        middle, share = statistics.median(took), statistics.mean(macs) / best["macs"]
        print(f"{rate:8.0f}  {len(took):8}  {late:4.0%}  {middle:9.1f}  {share:16.0%}")
        found.append(answered)
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--portfolio", type=Path, default=None)
    parser.add_argument("--seconds", type=float, default=5.0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    main(Portfolio.load(options.portfolio) if options.portfolio else made_up(), options.seconds)
