"""The rows of a training's log, as far as they can be read."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from space.utils.errors import InputError

Row = dict[str, float]


class Curve(NamedTuple):
    """A value over the epochs.

    Args:
        epochs: Epochs, counted from 1.
        values: A value for each of them.
    """

    epochs: tuple[int, ...]
    values: tuple[float, ...]


def read_log(path: Path) -> list[Row]:
    """Rows in the order of their epochs; lines that a killed writer left torn are skipped.

    An epoch that was trained again, after a restart, counts as it was the last time.

    Raises:
        InputError: the file cannot be read, or no line of it is a row.
    """
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    rows = {int(row["epoch"]): row for row in map(_row, lines) if row is not None}
    if not rows and any(line.strip() for line in lines):
        raise InputError(f'{path}: no line is a row such as {{"epoch": 0, "loss/largest": 2.3}}')
    return [rows[epoch] for epoch in sorted(rows)]


def read_curves(rows: Sequence[Row], group: str) -> dict[str, Curve]:
    """The curves of a group of columns such as `loss`, by what stands behind the slash."""
    found: dict[str, list[tuple[int, float]]] = {}
    for row in rows:
        for key, value in row.items():
            start, slash, name = key.partition("/")
            if slash and start == group:
                found.setdefault(name, []).append((int(row["epoch"]) + 1, value))
    return {name: Curve(*zip(*points, strict=True)) for name, points in found.items()}


def _row(line: str) -> Row | None:
    try:
        row: Any = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(row, dict) or not _is_epoch(row.get("epoch")):
        return None
    return {str(key): float(value) for key, value in row.items() if _is_number(value)}


def _is_epoch(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_number(value: object) -> bool:
    try:
        return not isinstance(value, bool) and math.isfinite(value)  # type: ignore[arg-type]
    except (TypeError, OverflowError):
        return False
