"""Reading of training logs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from space.utils.errors import InputError
from space.utils.values import is_integer

Row = dict[str, float]


@dataclass(frozen=True)
class Curve:
    """A metric over the epochs.

    Args:
        epochs: Epochs, counted from 1.
        values: Value of each epoch.
    """

    epochs: Sequence[int]
    values: Sequence[float]


def read_log(path: Path) -> list[Row]:
    """Read the rows in the order of their epochs, without lines that a killed writer left torn.

    Of an epoch that was trained again after a restart, the last row counts.

    Raises:
        InputError: The file cannot be read, or no line is a row.
    """
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    rows: dict[int, Row] = {}
    for line in lines:
        with suppress(ValueError, RecursionError):
            row = json.loads(line)
            if isinstance(row, dict) and is_integer(row.get("epoch")) and row["epoch"] >= 0:
                rows[row["epoch"]] = {key: float(row[key]) for key in row if _is_finite(row[key])}
    if not rows and any(line.strip() for line in lines):
        raise InputError(f'{path}: no line is a row such as {{"epoch": 0, "loss/largest": 2.3}}')
    return [rows[epoch] for epoch in sorted(rows)]


def read_curves(rows: Sequence[Row], group: str, factor: float = 1.0) -> dict[str, Curve]:
    """Return the curves of a group of columns, by name: `loss/largest` is `largest` of `loss`.

    Args:
        rows: Rows of a log.
        group: Name of the group.
        factor: Factor from the stored unit to the displayed one.
    """
    points: dict[str, list[tuple[int, float]]] = {}
    for row in rows:
        for key, value in row.items():
            start, slash, name = key.partition("/")
            if slash and start == group:
                points.setdefault(name, []).append((int(row["epoch"]) + 1, factor * value))
    return {name: Curve(*zip(*each, strict=True)) for name, each in points.items()}


def _is_finite(value: object) -> bool:
    # JSON integers may be too large for a float.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300
