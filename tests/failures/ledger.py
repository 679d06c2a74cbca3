"""The failure ledger: what was injected, and what came of it."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

HEAD = (
    "| fault | injected | finished lost | doubled | resumes after | message |\n"
    "|---|---|---|---|---|---|\n"
)


@dataclass(frozen=True)
class Row:
    """One fault, over all its injections.

    Args:
        order: of the row in the table.
        fault: what was done.
        injected: how often.
        lost, doubled: evaluations (or steps, or files) that were finished and are missing, or were
            made twice.
        seconds: from the fault, or from the command that follows it, until the work goes on: the
            longest of all injections; None where nothing is to go on.
        told: what the user sees, in a few words.
    """

    order: int
    fault: str
    injected: int
    lost: int
    doubled: int
    seconds: float | None
    told: str

    def line(self):
        after = "" if self.seconds is None else f"{self.seconds:.1f} s"
        cells = (self.fault, f"{self.injected:,}", self.lost, self.doubled, after, self.told)
        return "| " + " | ".join(map(str, cells)) + " |\n"


class Ledger:
    """Says how often a fault is injected, and takes down what came of it.

    Args:
        path: where the table goes; None for a few injections each and no table.
    """

    def __init__(self, path=None):
        self.path = path and Path(path)

    def times(self, full, few=1):
        """How often to inject a fault."""
        return full if self.path else few

    def add(self, order, fault, injected, *, lost=0, doubled=0, seconds=None, told=""):
        """Take down a row. Goal for each of them: nothing lost, nothing doubled."""
        if self.path:
            row = Row(order, fault, injected, lost, doubled, seconds, told)
            self._write(row)
        assert (lost, doubled) == (0, 0)

    def _write(self, row):
        notes = self.path.with_suffix(".jsonl")
        with notes.open("a") as file:
            file.write(json.dumps(asdict(row)) + "\n")
        rows = {}
        for line in notes.read_text().splitlines():
            found = Row(**json.loads(line))
            rows[found.order, found.fault] = found
        self.path.write_text(HEAD + "".join(rows[key].line() for key in sorted(rows)))
