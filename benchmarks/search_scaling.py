"""Efficiency of workers: the share of their time that is spent in evaluations.

    python benchmarks/search_scaling.py WORKERS SECONDS [TRIALS]

Evaluations sleep, so that many workers fit on one machine. Efficiency is counted from when all
workers are alive: finished evaluations, times their seconds, over the time of all workers; until
the end of the search, when some workers are idle, and until nine tenths of the trials are done.
"""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import dataclass

from made_up import BUDGET, SPACE, evaluate_synthetic

from search.run import run_search
from search.study.options import SearchOptions


@dataclass
class SleepingEvaluator:
    """Evaluates by sleeping."""

    seconds: float

    def __call__(self, arch):
        ends = time.perf_counter() + self.seconds
        metrics = evaluate_synthetic(arch)
        time.sleep(max(0.0, ends - time.perf_counter()))
        return metrics


def main() -> None:
    count, seconds = int(sys.argv[1]), float(sys.argv[2])
    trials = int(sys.argv[3]) if len(sys.argv) > 3 else int(30 * count / seconds)
    timeline: list[tuple[float, int]] = []
    began = time.perf_counter()

    def record(progress) -> None:
        if progress.workers == count or timeline:
            timeline.append((time.perf_counter(), progress.done))

    with tempfile.TemporaryDirectory() as folder:
        run_search(
            space=SPACE,
            evaluate=SleepingEvaluator(seconds),
            budget=BUDGET,
            trials=trials,
            options=SearchOptions(workers=count, cpus_per_worker=0.01),
            folder=folder,
            on_event=record,
        )
    whole = time.perf_counter() - began
    print(f"{count} workers, evaluations of {seconds * 1e3:g} ms, {trials:,} trials")
    print(f"all workers alive after {timeline[0][0] - began:.1f} s, with {timeline[0][1]:,} done")
    last = next(each for each in timeline if each[1] >= 0.9 * trials)
    for name, (at, done) in (("until nine tenths", last), ("until the end", timeline[-1])):
        elapsed, finished = at - timeline[0][0], done - timeline[0][1]
        share = finished * seconds / (elapsed * count)
        print(f"{name}: {finished / elapsed:.1f} evaluations/s, efficiency {share:.2f}")
    print(f"the whole search {whole:.1f} s")


if __name__ == "__main__":
    main()
