"""Training logs: rows of metrics by epoch, and the curves in them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from space.utils.atomic import file_errors
from space.utils.errors import InputError, is_integer, is_number

Row = dict[str, float]
# The value of a metric by epoch, counted from 1.
Curve = dict[int, float]


def read_log(path: Path) -> list[Row]:
    """Read the rows in the order of their epochs; none where there is no file.

    Invalid lines are skipped. Of an epoch that was repeated after a restart, the last row counts.

    Raises:
        InputError: The file cannot be read, or no line is a row.
    """
    if not path.exists():
        return []
    with file_errors(path, "read"):
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    rows: dict[int, Row] = {}
    for line in lines:
        with suppress(ValueError, RecursionError):
            row = json.loads(line)
            if isinstance(row, dict) and is_integer(row.get("epoch")) and row["epoch"] >= 0:
                numbers = {key: float(value) for key, value in row.items() if is_number(value)}
                if "epoch" in numbers:  # else too large for a float
                    rows[row["epoch"]] = numbers
    if not rows and any(line.strip() for line in lines):
        raise InputError(f'{path}: no line is a row such as {{"epoch": 0, "loss/largest": 2.3}}')
    return [rows[epoch] for epoch in sorted(rows)]


def collect_curves(rows: Sequence[Row], group: str, factor: float = 1.0) -> dict[str, Curve]:
    """Collect the curves of a group of metrics: `loss/largest` is `largest` in the group `loss`.

    Args:
        rows: Rows of a log.
        group: Name of the group.
        factor: Factor from the stored unit to the displayed one.
    """
    curves: dict[str, Curve] = {}
    for row in rows:
        for key, value in row.items():
            start, slash, name = key.partition("/")
            if slash and start == group:
                curves.setdefault(name, {})[int(row["epoch"]) + 1] = factor * value
    return curves
