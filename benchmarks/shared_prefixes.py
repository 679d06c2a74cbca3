"""What a search costs beside its forward passes one by one, on the trained supernet of a run.

    python benchmarks/shared_prefixes.py CONFIG [--run DIR] [TRIALS] [SAMPLER ...]
        [--megabytes ROOM] [--json FILE]

For NSGA-II and the config's own sampler, or those that are named: the wall time of the search, the
share of it that goes into forward passes, and the share that it is of all those passes one by one,
by running one arch in eight by itself beside it; and the share of the blocks that were run. The
wall time begins when weights and images are loaded, and what is run beside the search is not in it.
`--megabytes` is what may be kept of openings.
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

# Of the archs of a search, every so-many-th is run by itself too.
EVERY = 8


@dataclass(frozen=True)
class Row:
    """What was measured of one search; seconds, and shares."""

    sampler: str
    evaluations: int
    images: int
    wall: float
    forward: float
    one_by_one: float
    blocks_run: float
    kept_megabytes: float


class Counting:
    """Evaluates, counts blocks and seconds of that, and runs some of the archs by themselves."""

    def __init__(self, made: SupernetEvaluator, room: int | None) -> None:
        # One of its own for each search: nothing is kept from one to the next.
        self.evaluate = SupernetEvaluator(made.supernet, made.held_out)
        if room is not None:
            self.evaluate.openings = PrefixEvaluator(made.supernet, room)
        self.made = made
        self.archs = []
        self.blocks = 0
        self.forward = 0.0
        self.sample = []
        self.seconds = 0.0
        self.expect = self.evaluate.expect
        self.shared = self.evaluate.openings.network
        self.evaluate.openings.network = self.timed

    def __call__(self, arch):
        self.archs.append(arch)
        metrics = self.evaluate(arch)
        if len(self.archs) % EVERY == 0:
            self.run_alone(arch)
        return metrics

    def timed(self, arch):
        """The network of an arch, of whose forward passes the seconds are noted."""
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
        if self.made.held_out.device.type == "cuda":
            torch.cuda.synchronize()

    def run_alone(self, arch):
        """Forward passes of one arch, as without anything that is shared."""
        blocks, began = self.blocks, time.perf_counter()
        for _ in self.made.held_out.outputs(partial(self.made.supernet, arch=arch)):
            pass
        self.wait()
        self.seconds += time.perf_counter() - began
        self.sample.append(arch)
        self.blocks = blocks

    @property
    def alone(self):
        """Seconds of the passes of all archs one by one: those that were not run, by their MACs."""
        shape = self.made.supernet.shape
        total, some = (sum(macs(arch, shape) for arch in x) for x in (self.archs, self.sample))
        return self.seconds * total / some

    def run_step(self, *args):
        self.blocks += 1
        return type(self.made.supernet).run_step(self.made.supernet, *args)


def measure(made: SupernetEvaluator, config, sampler, trials: int, room: int | None) -> Row:
    counting, times = Counting(made, room), []
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
        counting.evaluate.openings.cache.bytes / 1e6,
    )


def show(row: Row) -> None:
    print(
        f"{row.sampler:18} {row.evaluations:9} {row.wall:9.1f} {row.forward / row.wall:9.3f} "
        f"{row.wall / row.one_by_one:10.3f} {row.blocks_run:9.3f} {row.kept_megabytes:9.0f}",
        flush=True,
    )


def taken(words: list[str], name: str) -> str | None:
    """The word after `name`, taken out of the command line."""
    if name not in words:
        return None
    at = words.index(name)
    value = words[at + 1]
    del words[at : at + 2]
    return value


def main() -> None:
    words = sys.argv[1:]
    file, megabytes = taken(words, "--json"), taken(words, "--megabytes")
    room = None if megabytes is None else int(float(megabytes) * 1e6)
    trials = next((int(word) for word in words if word.isdigit()), 500)
    named = [word for word in words if word.endswith("Sampler")]
    rest = [word for word in words if not word.isdigit() and word not in named]
    call = parse_call(["search", *rest])
    assert call.config is not None
    made = RunEvaluator(RunContext(call.config, call.file))()
    own = {"name": call.config.search.sampler, **call.config.search.sampler_args}
    samplers = named or ["NSGAIISampler", *([own] if own["name"] != "NSGAIISampler" else [])]
    print(f"{len(made.held_out):,} images, {torch.get_num_threads()} threads")
    titles = ("trials", "wall, s", "forward", "one by one", "blocks", "kept, MB")
    print(f"{'sampler':18} " + " ".join(f"{title:>9}" for title in titles))
    rows = []
    for sampler in samplers:
        rows.append(measure(made, call.config, sampler, trials, room))
        show(rows[-1])
    if file is not None:
        Path(file).write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")


if __name__ == "__main__":
    main()
