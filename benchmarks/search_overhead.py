"""Overhead of a search without its evaluations: time, memory and restart, over finished trials.

    python benchmarks/search_overhead.py [TRIALS] [SAMPLER]

Evaluations take no time. After each fifth of the trials: milliseconds of a trial from its proposal
to its stored result, and memory of the process per trial; at the end, the time from a restart to
its first evaluation, with the storage alone and with the sampler's first proposal.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

from made_up import BUDGET, SPACE, evaluate_synthetic

from search.run import run_search


def resident_bytes() -> int:
    """Return the resident memory of this process in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def main() -> None:
    trials = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    sampler = sys.argv[2] if len(sys.argv) > 2 else "NSGAIISampler"
    with tempfile.TemporaryDirectory() as folder:
        arguments = {"space": SPACE, "evaluate": evaluate_synthetic, "budget": BUDGET}
        arguments |= {"folder": folder, "origin": "synthetic"}
        began = last = time.perf_counter()
        memory = resident_bytes()
        print(f"{sampler}, {trials:,} trials\n{'trials':>8} {'ms/trial':>9} {'KB/trial':>9}")

        def report(progress) -> None:
            nonlocal last
            step = trials // 5
            if progress.done and progress.done % step == 0:
                now = time.perf_counter()
                used = (resident_bytes() - memory) / progress.done / 1e3
                print(f"{progress.done:8,} {(now - last) / step * 1e3:9.2f} {used:9.1f}")
                last = now

        run_search(**arguments, trials=trials, sampler=sampler, on_event=report)
        print(f"whole search {time.perf_counter() - began:.1f} s")
        for more in (0, 1):
            began = time.perf_counter()
            run_search(**arguments, trials=trials + more, sampler=sampler)
            print(f"restart with {more} more trials {time.perf_counter() - began:.2f} s")


if __name__ == "__main__":
    main()
