"""What racing saves, and whether the front stays: searches with and without it, side by side.

    python benchmarks/racing.py CONFIG [--run DIR] [--trials 200] [--sampler NAME] [--seeds 5]
        [--errors 0.01,0.05] [--json FILE]

On the trained supernet of a run. Each seed puts the images into another order and searches once as
it is, and once for each error rate. Images: their share that all archs have seen. Wall: seconds of
the evaluations, in shares of those without racing; archs that begin alike share computation in
both. Volume: hypervolume of the front, up to the worst values that the search without racing has
met, beside that of its front. Wrongly: stopped archs that are better on the whole split than what
stopped them; they are evaluated again for this, outside of the clock.
"""

from __future__ import annotations

import argparse
import json
import time
from functools import partial
from pathlib import Path
from statistics import mean

import numpy as np
import torch

from search.evaluator import RunEvaluator, SupernetEvaluator, evaluator_of
from search.hypervolume import hypervolume, signed
from search.latency.costs import make_problem
from search.parsing import parse_call
from search.racing import Race, race_of
from search.record import SEEN
from search.run import run_search
from supernet.evaluation import HeldOut

BATCH = 256


class Timed:
    """Evaluates by the clock, and takes note of what was stopped."""

    def __init__(self, evaluate: SupernetEvaluator, race: Race | None) -> None:
        self.evaluate, self.race = evaluate, race
        if race is not None:
            self.metric, self.sign = race.objective.name, race.objective.sign
        self.seconds = 0.0
        self.shares: list[float] = []
        self.stopped = self.wrongly = 0
        self.expect = evaluate.expect

    @property
    def spent(self):
        return self.evaluate.spent

    def __call__(self, arch):
        rival = self._rival(arch)
        began = time.perf_counter()
        found = self.evaluate(arch)
        self.seconds += time.perf_counter() - began
        self.shares.append(found.get(SEEN, 1.0))
        if SEEN in found:
            self.stopped += 1
            whole = self.evaluate.held_out.measure(partial(self.evaluate.supernet, arch=arch))
            self.wrongly += self.sign * whole[self.metric] < rival.loss
        return found

    def _rival(self, arch):
        """What a racing evaluator will compare the arch with."""
        if self.race is None:
            return None
        return self.evaluate._rivals.of(self.race.costs(arch))


def shuffled(held_out: HeldOut, seed: int) -> HeldOut:
    """The same images in another order."""
    images, targets = (torch.cat([batch[i] for batch in held_out.batches]) for i in range(2))
    order = torch.randperm(len(targets), generator=torch.Generator().manual_seed(seed))
    order = order.to(targets.device)
    batches = zip(images[order].split(BATCH), targets[order].split(BATCH), strict=True)
    return HeldOut(batches, held_out.task, held_out.device, held_out.amp)


def search(made: SupernetEvaluator, config, options, error: float, seed: int):
    """A search's front and its evaluations."""
    wanted, space = config.search, made.supernet.space
    directions = made.held_out.task.directions
    problem = make_problem(space, wanted.objectives, wanted.budget, directions, ())
    race = race_of(problem, error or None)
    timed = Timed(evaluator_of(made.supernet, shuffled(made.held_out, seed), race), race)
    front = run_search(
        space=space,
        evaluate=timed,
        objectives=wanted.objectives,
        budget=wanted.budget,
        directions=directions,
        trials=options.trials,
        sampler=options.sampler or {"name": wanted.sampler, **wanted.sampler_args},
        seed=seed,
    )
    return front, timed


def points(front):
    return np.array([signed(entry.values, front.objectives) for entry in front.entries])


def compare(made: SupernetEvaluator, config, options, seed: int) -> list[dict[str, float]]:
    """A row for the search as it is, and one for each error rate."""
    rows = []
    plain, clock = search(made, config, options, 0.0, seed)
    corner = signed(plain.reference, plain.objectives)
    whole = hypervolume(points(plain), corner)
    for error in map(float, options.errors.split(",")):
        front, timed = search(made, config, options, error, seed)
        rows.append(
            {
                "seed": seed,
                "error": error,
                "images": mean(timed.shares),
                "wall": timed.seconds / clock.seconds,
                "volume": hypervolume(points(front), corner) / whole,
                "stopped": timed.stopped,
                "wrongly": timed.wrongly,
            }
        )
        show(rows[-1])
    return rows


def show(row: dict[str, float]) -> None:
    print(
        f"{row['seed']:4} {row['error']:6.2f} {row['images']:7.1%} {row['wall']:7.3f} "
        f"{row['volume']:8.4f} {row['stopped']:8} {row['wrongly']:8}",
        flush=True,
    )


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--sampler", default="")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--errors", default="0.01,0.05")
    parser.add_argument("--json", type=Path, default=None)
    options, rest = parser.parse_known_args(argv)
    call = parse_call(["search", *rest])
    assert call.config is not None
    made = RunEvaluator(call.config, call.file)()
    print(f"{len(made.held_out):,} images, {options.trials} evaluations")
    print("seed  error  images    wall   volume  stopped  wrongly")
    rows = [
        row for seed in range(options.seeds) for row in compare(made, call.config, options, seed)
    ]
    for error in dict.fromkeys(row["error"] for row in rows):
        chosen = [row for row in rows if row["error"] == error]
        images, wall, volume = (
            mean(row[key] for row in chosen) for key in ("images", "wall", "volume")
        )
        print(f"error {error:.0%}: images {images:.1%}, wall {wall:.3f}, volume {volume:.4f}")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
