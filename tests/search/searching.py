"""A search as a program of its own, so that it can be stopped and killed.

    python searching.py FOLDER --trials N --workers W --seconds S --kills K --storage URL

Each evaluation is noted in FOLDER's `evaluated.txt` when it ends. The arch of identity K kills the
process that evaluates it.
"""

import argparse
import os
import time
from pathlib import Path

from search_toys import Evaluate, toy_space, with_options

from search.run import run_search

SPACE = toy_space()
BUDGET = "macs=80%"
NOTES = "evaluated.txt"
# Once there is a file of this name beside the notes, evaluations take no time.
QUICK = "quick"


class Noting:
    """Evaluates slowly, and notes in a file what it has evaluated."""

    def __init__(self, notes, seconds, kills):
        self.notes, self.seconds, self.kills = notes, seconds, kills
        self.evaluate = Evaluate(SPACE)

    def __call__(self, arch):
        identity = SPACE.identity(arch)
        if identity == self.kills:
            os._exit(9)
        if not self.notes.with_name(QUICK).exists():
            time.sleep(self.seconds)
        metrics = self.evaluate(arch)
        with self.notes.open("a") as file:
            file.write(f"{identity}\n")
        return metrics


class Together(Noting):
    """The same, by what shares work between archs."""

    def expect(self, archs):
        return archs[::-1]


def search(folder, trials, workers, seconds=0.0, kills=None, **others):
    """The front, with the search's files in `folder`, and the notes too."""
    folder = Path(folder)
    folder.mkdir(exist_ok=True)
    evaluate = Noting(folder / NOTES, seconds, kills)
    given = with_options(
        space=SPACE,
        evaluate=evaluate,
        budget=BUDGET,
        trials=trials,
        workers=workers,
        folder=folder / "search",
        origin="toy",
        **others,
    )
    return run_search(**given)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--trials", type=int)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--seconds", type=float, default=0.0)
    parser.add_argument("--kills")
    parser.add_argument("--storage")
    search(**vars(parser.parse_args()))


if __name__ == "__main__":
    main()
