"""Cost of a search relative to its forward passes one by one, on the trained supernet of a run.

    python benchmarks/shared_prefixes.py CONFIG [--run DIR] [TRIALS] [SAMPLER ...]
        [--megabytes CACHE] [--json FILE]

For NSGA-II and the config's sampler, or the given samplers: the wall time of the search, the share
of it in forward passes, its ratio to all forward passes one by one (extrapolated from one arch in
eight, run separately), and the share of the blocks that were run. The wall time excludes loading
and the separate runs. `--megabytes` is the memory budget of cached prefixes.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch

from search.cli.parse import parse_call
from search.evaluators.supernet import SupernetEvaluator
from search.pipeline.context import RunContext
from search.pipeline.run_evaluator import RunEvaluator
from search.run import run_search
from space import macs
from supernet.models.prefixes import PrefixEvaluator

# Every so many archs, one is run separately too.
SAMPLE_INTERVAL = 8


@dataclass(frozen=True)
class Row:
    """Measurements of one search, as seconds and shares."""

    sampler: str
    evaluations: int
    images: int
    wall: float
    forward: float
    one_by_one: float
    blocks_run: float
    kept_megabytes: float


class CountingEvaluator:
    """Evaluates, counts blocks and seconds, and runs some of the archs separately."""

    def __init__(self, made: SupernetEvaluator, budget: int | None) -> None:
        # A new one for each search: nothing stays cached from one to the next.
        self.evaluate = SupernetEvaluator(made.supernet, made.held_out)
        if budget is not None:
            self.evaluate.prefixes = PrefixEvaluator(made.supernet, budget)
        self.made = made
        self.archs = []
        self.blocks = 0
        self.forward = 0.0
        self.sample = []
        self.seconds = 0.0
        self.expect = self.evaluate.expect
        self.shared = self.evaluate.prefixes.network
        self.evaluate.prefixes.network = self.timed

    def __call__(self, arch):
        self.archs.append(arch)
        metrics = self.evaluate(arch)
        if len(self.archs) % SAMPLE_INTERVAL == 0:
            self.run_alone(arch)
        return metrics

    def timed(self, arch):
        """Return the network of an arch, which counts the seconds of its forward passes."""
        began = time.perf_counter()
        network = self.shared(arch)
        self.forward += time.perf_counter() - began

        def run(images):
            began = time.perf_counter()
            logits = network(images)
            self.wait()
            self.forward += time.perf_counter() - began
            return logits

        return run

    def wait(self):
        """Wait for the device."""
        if self.made.held_out.device.type == "cuda":
            torch.cuda.synchronize()

    def run_alone(self, arch):
        """Run the forward passes of one arch without cached prefixes."""
        blocks, began = self.blocks, time.perf_counter()
        for _ in self.made.held_out.outputs(partial(self.made.supernet, arch=arch)):
            pass
        self.wait()
        self.seconds += time.perf_counter() - began
        self.sample.append(arch)
        self.blocks = blocks

    @property
    def alone(self):
        """Seconds of the passes of all archs one by one, extrapolated by MACs."""
        shape = self.made.supernet.shape
        total, some = (sum(macs(arch, shape) for arch in x) for x in (self.archs, self.sample))
        return self.seconds * total / some

    def run_step(self, *args):
        self.blocks += 1
        return type(self.made.supernet).run_step(self.made.supernet, *args)


def measure(made: SupernetEvaluator, config, sampler, trials: int, budget: int | None) -> Row:
    """Run a search and return its row."""
    counting, times = CountingEvaluator(made, budget), []
    made.supernet.run_step = counting.run_step
    try:
        with tempfile.TemporaryDirectory() as folder:
            run_search(
                space=made.supernet.space,
                evaluate=counting,
                objectives=config.search.objectives,
                budget=config.search.budget,
                trials=trials,
                sampler=sampler,
                seed=config.seed,
                folder=folder,
                # The first call comes before the first evaluation.
                on_event=lambda _: times.append(time.perf_counter()),
            )
    finally:
        del made.supernet.run_step
    done, parts = len(counting.archs), len(made.held_out.batches)
    return Row(
        sampler if isinstance(sampler, str) else sampler["name"],
        done,
        len(made.held_out),
        times[-1] - times[0] - counting.seconds,
        counting.forward,
        counting.alone,
        counting.blocks / (parts * done * made.supernet.shape.depth),
        counting.evaluate.prefixes.cache.bytes / 1e6,
    )


def show(row: Row) -> None:
    print(
        f"{row.sampler:18} {row.evaluations:9} {row.wall:9.1f} {row.forward / row.wall:9.3f} "
        f"{row.wall / row.one_by_one:10.3f} {row.blocks_run:9.3f} {row.kept_megabytes:9.0f}",
        flush=True,
    )


def pop_option(words: list[str], name: str) -> str | None:
    """Remove an option from the command line and return its value."""
    if name not in words:
        return None
    at = words.index(name)
    value = words[at + 1]
    del words[at : at + 2]
    return value


def main() -> None:
    words = sys.argv[1:]
    file, megabytes = pop_option(words, "--json"), pop_option(words, "--megabytes")
    budget = None if megabytes is None else int(float(megabytes) * 1e6)
    trials = next((int(word) for word in words if word.isdigit()), 500)
    sampler_names = [word for word in words if word.endswith("Sampler")]
    rest = [word for word in words if not word.isdigit() and word not in sampler_names]
    call = parse_call(["search", *rest])
    assert call.config is not None
    made = RunEvaluator(RunContext(call.config, call.file))()
    own = {"name": call.config.search.sampler, **call.config.search.sampler_args}
    samplers = sampler_names or [
        "NSGAIISampler",
        *([own] if own["name"] != "NSGAIISampler" else []),
    ]
    print(f"{len(made.held_out):,} images, {torch.get_num_threads()} threads")
    titles = ("trials", "wall, s", "forward", "one by one", "blocks", "kept, MB")
    print(f"{'sampler':18} " + " ".join(f"{title:>9}" for title in titles))
    rows = []
    for sampler in samplers:
        rows.append(measure(made, call.config, sampler, trials, budget))
        show(rows[-1])
    if file is not None:
        Path(file).write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")


if __name__ == "__main__":
    main()
