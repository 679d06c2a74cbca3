"""The log of a profile's rounds, from which an interrupted profile resumes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from itertools import takewhile
from pathlib import Path
from typing import Any

from space.utils.atomic import file_errors
from space.utils.yaml_file import write_text


class RoundLog:
    """A file with a header and one line per round; it is deleted once the table is written.

    Args:
        path: The file; rewritten for another description, and cut before a truncated line.
        description: Plain values that identify the measurement.
        count: Number of runs in a round.
    """

    def __init__(self, path: Path, description: Mapping[str, Any], count: int) -> None:
        self.path = path
        lines = list[str]()
        if path.exists():
            with file_errors(path, "read"):
                lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        header = json.dumps(description)
        rows = map(_read_row, lines[1:] if lines[:1] == [header] else ())
        self.seconds = list(takewhile(lambda row: len(row) == count, rows))
        valid = [header, *map(json.dumps, self.seconds)]
        write_text(path, "".join(f"{line}\n" for line in valid))

    def add(self, seconds: list[float]) -> None:
        """Append the seconds of a round."""
        self.seconds.append(seconds)
        with file_errors(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(seconds) + "\n")


def _read_row(line: str) -> list[float]:
    """Read the seconds in a line; return an empty list for a truncated one."""
    with suppress(ValueError):
        row = json.loads(line)
        if isinstance(row, list) and all(isinstance(each, float) for each in row):
            return row
    return []
