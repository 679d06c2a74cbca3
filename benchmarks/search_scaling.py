"""How much of the workers' time goes into evaluations: throughput over the ideal.

    python benchmarks/search_scaling.py WORKERS SECONDS [TRIALS]

Evaluations sleep, so that many workers fit on one machine. Counted from when all workers are alive:
evaluations that end in that time, times their seconds, over the time of all workers; once
to the end of the search, when some workers have nothing left to do, and once to when nine tenths of
the trials are done.
"""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import dataclass

from made_up import BUDGET, SPACE, pretend

from search.run import run_search
from search.study.options import SearchOptions


@dataclass
class Sleeping:
    """Evaluates by sleeping."""

    seconds: float

    def __call__(self, arch):
        ends = time.perf_counter() + self.seconds
        metrics = pretend(arch)
        time.sleep(max(0.0, ends - time.perf_counter()))
        return metrics


def main() -> None:
    count, seconds = int(sys.argv[1]), float(sys.argv[2])
    trials = int(sys.argv[3]) if len(sys.argv) > 3 else int(30 * count / seconds)
    seen: list[tuple[float, int]] = []
    began = time.perf_counter()

    def note(progress) -> None:
        if progress.workers == count or seen:
            seen.append((time.perf_counter(), progress.done))

    with tempfile.TemporaryDirectory() as folder:
        run_search(
            space=SPACE,
            evaluate=Sleeping(seconds),
            budget=BUDGET,
            trials=trials,
            options=SearchOptions(workers=count, cpus_per_worker=0.01),
            folder=folder,
            on_event=note,
        )
    whole = time.perf_counter() - began
    print(f"{count} workers, evaluations of {seconds * 1e3:g} ms, {trials:,} trials")
    print(f"all workers alive after {seen[0][0] - began:.1f} s, with {seen[0][1]:,} done")
    last = next(each for each in seen if each[1] >= 0.9 * trials)
    for name, (at, done) in (("to nine tenths", last), ("to the end", seen[-1])):
        elapsed, finished = at - seen[0][0], done - seen[0][1]
        share = finished * seconds / (elapsed * count)
        print(f"{name}: {finished / elapsed:.1f} evaluations/s, {share:.2f} of the ideal")
    print(f"the whole search {whole:.1f} s")


if __name__ == "__main__":
    main()
