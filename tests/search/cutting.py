"""Journals that were cut, and the searches that go on from them."""

import json
import shutil
from dataclasses import dataclass

from stored import search

from search.study.storage import JOURNAL, read_trials


@dataclass(frozen=True)
class GoneOn:
    """What came of a search whose journal was cut.

    Args:
        complete: trials that stood whole before the cut.
        evaluated: archs that were evaluated afterwards.
        identities: of the trials in the end.
        torn: bytes that were no whole line.
        notes: what was told.
    """

    complete: int
    evaluated: int
    identities: list[str]
    torn: int
    notes: tuple[str, ...]


def cut_and_go_on(whole, folder, cut, trials):
    """Copy a search, cut its journal after so many bytes, and search to the end again."""
    shutil.copytree(whole, folder)
    raw = (whole / JOURNAL).read_bytes()
    (folder / JOURNAL).write_bytes(raw[:cut])
    lines = raw[:cut].split(b"\n")
    # A trial is a line; the two before them are of the study. A newline may be all that lacks.
    there = [line for line in lines if line and line + b"\n" in raw]
    complete = sum(json.loads(line)["op_code"] == 4 for line in there if _parses(line))
    notes = []
    _, evaluate = search(folder, trials=trials, on_event=lambda p: notes.append(p.notes))
    return GoneOn(
        complete,
        len(evaluate.seen),
        [trial.user_attrs["identity"] for trial in read_trials(folder)],
        0 if _parses(lines[-1] or b"{}") else len(lines[-1]),
        notes[0],
    )


def _parses(line):
    try:
        json.loads(line)
    except ValueError:
        return False
    return True
