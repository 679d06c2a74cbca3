"""`searching.py`, started as a program, and what it leaves."""

import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from search_toys import problem_of
from searching import BUDGET, NOTES, SPACE

from search.study.storage import read_trials
from search.study.trial_format import read_records

HERE = Path(__file__).parent
PROBLEM = problem_of(SPACE, budget=BUDGET)
# A search with workers goes to Ray's own processes, which look modules up by these.
PATHS = os.pathsep.join([str(HERE.parent.parent), str(HERE), str(HERE.parent / "space")])


def start(folder, environ=None, piped=False, **options):
    """The program; what it says can be read where it is piped."""
    words = [
        word
        for key, value in options.items()
        if value is not None
        for word in (f"--{key}", str(value))
    ]
    command = [sys.executable, str(HERE / "searching.py"), str(folder), *words]
    environ = environ or {}
    paths = os.pathsep.join([*environ.get("PYTHONPATH", "").split(os.pathsep), PATHS]).strip(":")
    return subprocess.Popen(
        command,
        env=os.environ | environ | {"PYTHONPATH": paths},
        stderr=subprocess.PIPE if piped else None,
        text=True,
    )


def wait_for(condition, seconds=90):
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, "it took too long"
        time.sleep(0.05)


def evaluated(folder):
    """How often each arch was evaluated to the end."""
    notes = folder / NOTES
    return Counter(notes.read_text().split()) if notes.exists() else Counter()


def stored(folder):
    return read_records(read_trials(folder / "search"), PROBLEM)
