"""The rounds of a profile, kept as they come: after a stop the same command goes on from there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from space.utils.atomic import writing
from space.utils.yaml_file import write_text


class Rounds:
    """A file of one line a round, headed by what was measured; it is gone once the table is there.

    Args:
        path: of the file. One that is of something else is begun anew; a line that was cut off,
            with all after it, is measured again.
        description: plain values that say what is measured, and on what.
        count: seconds in a round.
    """

    def __init__(self, path: Path, description: Mapping[str, Any], count: int) -> None:
        self.path = path
        self.seconds: list[list[float]] = []
        lines = (
            path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
        )
        header = json.dumps(description)
        if lines[:1] == [header]:
            for line in lines[1:]:
                row = _row(line)
                if row is None or len(row) != count:
                    break
                self.seconds.append(row)
        kept = [header, *map(json.dumps, self.seconds)]
        write_text(path, "".join(f"{line}\n" for line in kept))

    def add(self, seconds: list[float]) -> None:
        """Keep a round."""
        self.seconds.append(seconds)
        with writing(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(seconds) + "\n")


def _row(line: str) -> list[float] | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, list) and all(isinstance(x, float) for x in row) else None
